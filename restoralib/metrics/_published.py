"""The numbers of other authors that come with the package; published/NOTICE has their licences."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


@lru_cache(maxsize=8)
def read_published(name: str) -> dict[str, Tensor]:
    """The tensors of a file; they are shared, so copy before writing."""
    with torch.inference_mode(False):  # they outlive the caller's mode
        return load_file(Path(__file__).with_name("published") / f"{name}.safetensors")
