"""How far a network looks, measured."""

from __future__ import annotations

import torch
from torch import nn


def measured_halo(net: nn.Module) -> int:
    """The largest distance in input pixels, over all phases of the grid, from an output pixel to a pixel it depends on.

    Weights are made positive, so that no two paths cancel; the image is too large for its border to matter.
    """
    net = net.double()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.1, 1.0)
    spec, radius = net.spec, net.spec.halo + 2 * net.spec.multiple + 1
    center = -(-radius // spec.multiple) * spec.multiple
    image = torch.ones(1, spec.in_channels, *2 * [center + spec.multiple + radius], dtype=torch.float64, requires_grad=True)
    output = net(image)
    farthest = 0
    for pixel in range(spec.scale * center, spec.scale * (center + spec.multiple)):
        (gradient,) = torch.autograd.grad(output[0, 0, pixel, pixel], image, retain_graph=True)
        rows, columns = gradient[0].sum(0).nonzero().T
        origin = pixel // spec.scale
        farthest = max(farthest, int((rows - origin).abs().max()), int((columns - origin).abs().max()))
    return farthest
