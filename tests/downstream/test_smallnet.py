"""A project that imports only `restoralib.blocks` runs, learns, and passes a strict type checker."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from smallnet.net import SmallNet, train_step

HERE = Path(__file__).parent


def test_it_imports_nothing_else_of_restoralib() -> None:
    imports = [node for file in HERE.glob("smallnet/*.py") for node in ast.walk(ast.parse(file.read_text()))]
    modules = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name and name.startswith("restoralib")} == {"restoralib.blocks"}


def test_it_runs_and_learns() -> None:
    torch.manual_seed(0)
    net = SmallNet()
    target = torch.rand(2, 3, 10, 14)
    level = torch.tensor([5.0, 25.0])
    noisy = target + level[:, None, None, None] / 255 * torch.randn_like(target)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = [train_step(net, optimizer, noisy, target, level) for _ in range(20)]
    assert net(noisy, level).shape == target.shape
    assert losses[-1] < losses[0] / 2


def test_tiles_that_carry_the_state_see_each_other() -> None:
    net, x = SmallNet(), torch.randn(1, 16, 4, 8)
    whole, _ = net.attend(x)
    left, right = x.chunk(2, dim=3)
    _, state = net.attend(left)
    output, _ = net.attend(right, state)
    torch.testing.assert_close(output, whole[..., 4:])


@pytest.mark.slow
def test_it_passes_a_strict_type_checker() -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "."]
    result = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
