"""Small networks and folders of images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_folders import small_net, write_images

from restoralib.archs import NAFNet


@pytest.fixture(scope="session")
def net() -> NAFNet:
    return small_net()


@pytest.fixture
def checkpoint(tmp_path, net) -> Path:
    path = tmp_path / "models" / "net.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save({"params": net.state_dict()}, path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images of 24x20."""
    write_images(tmp_path / "in")
    return tmp_path / "in"
