"""PReNet, PRN and their recursive forms: deraining by one small network that runs six times over its own result.

Ren et al., Progressive Image Deraining Networks: A Better and Simpler Baseline, CVPR 2019, arXiv:1901.09221. The authors'
checkpoints for Rain100H, Rain100L and Rain1400 load unchanged; those of their ablation have other networks, one of them
(PReNet_LSTM, which does not add the image to its result) with PReNet's keys. Images are RGB in [0, 1] of any size.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant

_FIVE = tuple(f"res_conv{i}" for i in range(1, 6))
_ONE = 5 * ("res_conv1",)
_GATES = ("conv_i", "conv_f", "conv_g", "conv_o")


class _ProgressiveNet(nn.Module):
    """What the four have in common: every stage takes the degraded image and the stage before's result (Fig. 2)."""

    recurrent: ClassVar[bool]
    """Whether a convolutional LSTM carries features from stage to stage."""
    branches: ClassVar[tuple[str, ...]]
    """The branches of a stage's residual blocks, in order."""

    def __init__(self, recurrent_iter: int = 6) -> None:
        super().__init__()
        if not isinstance(recurrent_iter, int) or recurrent_iter < 1:
            raise ValueError(f"recurrent_iter should be a whole number of at least 1, got {recurrent_iter!r}")
        self.recurrent_iter = recurrent_iter
        self.conv0 = nn.Sequential(nn.Conv2d(6, 32, 3, padding=1), nn.ReLU(inplace=True))
        for name in dict.fromkeys(self.branches):
            self.add_module(name, _residual_branch())
        if self.recurrent:
            for gate in _GATES:
                activation = nn.Tanh() if gate == "conv_g" else nn.Sigmoid()
                self.add_module(gate, nn.Sequential(nn.Conv2d(64, 32, 3, padding=1), activation))
        self.conv = nn.Sequential(nn.Conv2d(32, 3, 3, padding=1))
        self.spec = spec(type(self), recurrent_iter)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        x, state, stages = image, None, []
        for _ in range(self.recurrent_iter):
            x = self.conv0(torch.cat((image, x), 1))
            if self.recurrent:
                state = self._remember(x, state)
                x = state[0]
            for name in self.branches:
                x = (x + self.get_submodule(name)(x)).relu_()
            x = self.conv(x) + image
            stages.append(x)
        return stages[::-1] if self.training else x

    def _remember(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """A step of the convolutional LSTM: its output and its memory, both zero before the first."""
        hidden, memory = state or (torch.zeros_like(x), torch.zeros_like(x))
        x = torch.cat((x, hidden), 1)
        take, keep, new, show = (self.get_submodule(gate)(x) for gate in _GATES)
        memory = keep * memory + take * new
        return show * memory.tanh(), memory


class PReNet(_ProgressiveNet):
    """Progressive recurrent network: a convolutional LSTM and five residual blocks a stage, the same weights in every stage.

    Args:
        recurrent_iter: stages, which no weight tells.

    Shapes: (b, 3, h, w) -> (b, 3, h, w), any height and width; in training mode a list of all stages' images, the last
        stage's, which is the result, first.

    Raises:
        ValueError: recurrent_iter is no whole number, or too small.
    """

    recurrent = True
    branches = _FIVE


class PReNet_r(_ProgressiveNet):
    """PReNet whose five residual blocks of a stage are one, run five times. Argument and shapes are PReNet's."""

    recurrent = True
    branches = _ONE


class PRN(_ProgressiveNet):
    """Progressive network: PReNet without the LSTM. Argument and shapes are PReNet's."""

    recurrent = False
    branches = _FIVE


class PRN_r(_ProgressiveNet):
    """PRN whose five residual blocks of a stage are one, run five times. Argument and shapes are PReNet's."""

    recurrent = False
    branches = _ONE


def _residual_branch() -> nn.Sequential:
    layers = [layer for _ in range(2) for layer in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)


def spec(cls: type[_ProgressiveNet] = PReNet, recurrent_iter: int = 6) -> NetSpec:
    """What `cls(recurrent_iter)` needs and does."""
    return NetSpec(
        # 3x3 convolutions of a stage: the first, the gates', two a residual block, the last.
        halo=recurrent_iter * (1 + cls.recurrent + 2 * len(cls.branches) + 1),
        tasks=("derain",) if recurrent_iter == 6 else (),
        unrecorded=("recurrent_iter",),
    )


_CLASSES: tuple[type[_ProgressiveNet], ...] = (PReNet, PReNet_r, PRN, PRN_r)

VARIANTS: dict[str, Variant] = {
    f"{cls.__name__.lower()}_{data}": Variant(cls, {"recurrent_iter": 6}, ("derain",))
    for cls in _CLASSES
    for data in ("rain100h", "rain100l", "rain1400")
}


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The class by its layers; the number of stages is taken for the six of all published weights."""
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    for cls in _CLASSES:
        if shapes == _shapes(cls):
            reason = "the six stages of all published weights; recurrent_iter=4, say, makes four"
            return Inferred(cls, {"recurrent_iter": 6}, assumed={"recurrent_iter": reason})
    return None


def _shapes(cls: type[_ProgressiveNet]) -> dict[str, tuple[int, ...]]:
    """The state dict's keys with their shapes."""
    widths = {"conv0.0": (32, 6), "conv.0": (3, 32)}
    widths |= {f"{name}.{layer}": (32, 32) for name in cls.branches for layer in (0, 2)}
    widths |= {f"{gate}.0": (32, 64) for gate in _GATES if cls.recurrent}
    weights = {f"{layer}.weight": (*width, 3, 3) for layer, width in widths.items()}
    return weights | {f"{layer}.bias": width[:1] for layer, width in widths.items()}
