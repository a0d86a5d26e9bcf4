"""One exported program for all sizes, held against the network."""

from __future__ import annotations

import torch
from torch import nn


def assert_one_graph_serves(net: nn.Module, step: int, *sizes: tuple[int, int], least: int = 2, most: int = 100) -> None:
    """Export at the first size, for heights and widths of `least` to `most` steps, and compare at the others."""
    rows, columns = (torch.export.Dim(name, min=least, max=most) for name in ("rows", "columns"))
    first, *others = (torch.rand(1, net.spec.in_channels, *size) for size in sizes)
    shapes = ({2: step * rows, 3: step * columns},)
    exported = torch.export.export(net, (first,), dynamic_shapes=shapes, strict=False).module()
    for image in others:
        with torch.no_grad():
            torch.testing.assert_close(exported(image), net(image))
