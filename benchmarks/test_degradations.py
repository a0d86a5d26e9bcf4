"""Micro-benchmarks of degradations: filters and operators on an RGB image, forwards and back."""

import pytest
import torch
from torch import nn

from restoralib import degradations as d

SIDE = 256
SHAPE = (3, SIDE, SIDE)
FILTERS = {
    "filter2d, 7x7": lambda x: d.filter2d(x, d.gaussian_kernel(7, 1.0, 2.0, 0.5)),
    "filter2d, 21x21": lambda x: d.filter2d(x, d.gaussian_kernel(21, 2.0, 3.0, 0.5)),
    "gaussian_blur, sigma 2": lambda x: d.gaussian_blur(x, 2.0),
    "usm_sharpen": d.usm_sharpen,
    "Downsample, x4": d.Downsample(4.0),
    "DefocusBlur, radius 3": d.DefocusBlur(3.0),
}
OPERATORS = {
    "mask": lambda: d.MaskOperator(SHAPE, torch.rand(SIDE, SIDE).round()),
    "grey": lambda: d.GreyOperator(SHAPE),
    "average pool, x4": lambda: d.AveragePoolOperator(SHAPE, 4),
    "bicubic, x4": lambda: d.ResizeOperator(SHAPE, 0.25),
    "circular motion blur": lambda: d.CircularBlurOperator(SHAPE, d.fspecial_motion(15, 30)),
    "disk blur, reflect, 64x64": lambda: d.BlurOperator((3, 64, 64), d.fspecial_disk(3), padding="reflect"),
    "blur and decimate, x4": lambda: d.BlurDecimateOperator(SHAPE, d.gaussian_kernel(15, 1.6), 4),
    "Walsh-Hadamard, 1/2": lambda: d.HadamardOperator(SHAPE, 0.5),
}


class Call(nn.Module):
    """A function as a module, for `timed`."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize("name", FILTERS)
def test_filter(name, timed):
    timed(Call(FILTERS[name]), torch.rand(1, *SHAPE), pixels=SIDE**2)


@pytest.mark.parametrize(
    ("name", "direction"),
    [(name, direction) for name in OPERATORS for direction in ("forward", "adjoint", "pinv", "prox")],
)
def test_operator(name, direction, timed):
    operator = OPERATORS[name]()
    x, y = torch.rand(1, *operator.in_shape), torch.rand(1, *operator.out_shape)
    inputs = {"forward": (x,), "prox": (x, y)}.get(direction, (y,))
    run = getattr(operator, direction)
    timed(Call(run if direction != "prox" else lambda x, y: run(x, y, 0.1)), *inputs, pixels=x[0, 0].numel())
