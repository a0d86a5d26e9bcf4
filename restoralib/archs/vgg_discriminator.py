"""VGGStyleDiscriminator: ESRGAN's discriminator, one logit for a crop of 128x128 or 256x256.

Wang et al., ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, ECCV Workshops 2018, arXiv:1809.00219, in
BasicSR's layout, whose checkpoints load unchanged. Images are RGB in [0, 1].
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant

_STAGES = {128: 5, 256: 6}  # each halves the size, down to 4x4


class VGGStyleDiscriminator(nn.Module):
    """Pairs of 3x3 and 4x4 convolutions, the second of which halves the size, then two linear layers.

    Args:
        num_in_ch: channels of the image.
        num_feat: width of the first pair; each of the next three doubles it.
        input_size: 128, or 256 for a sixth pair.

    Shapes: (b, num_in_ch, input_size, input_size) -> (b, 1), a logit.

    Raises:
        ValueError: `input_size` is another, a number is less than one, or `forward` got an image of another size.
    """

    def __init__(self, num_in_ch: int, num_feat: int, input_size: int = 128) -> None:
        super().__init__()
        if input_size not in _STAGES:
            raise ValueError(f"input_size should be 128 or 256, got {input_size}")
        if num_in_ch < 1 or num_feat < 1:
            raise ValueError(f"num_in_ch and num_feat should be at least 1, got {num_in_ch} and {num_feat}")
        self.stages = _STAGES[input_size]
        before = num_in_ch
        for stage in range(self.stages):
            width = num_feat * 2 ** min(stage, 3)
            self.add_module(f"conv{stage}_0", nn.Conv2d(before, width, 3, padding=1, bias=stage == 0))
            if stage:
                self.add_module(f"bn{stage}_0", nn.BatchNorm2d(width))
            self.add_module(f"conv{stage}_1", nn.Conv2d(width, width, 4, stride=2, padding=1, bias=False))
            self.add_module(f"bn{stage}_1", nn.BatchNorm2d(width))
            before = width
        self.linear1 = nn.Linear(before * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)
        self.spec = spec(num_in_ch, num_feat, input_size)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        side = 4 * 2**self.stages
        if (height, width) != (side, side):
            raise ValueError(
                f"VGGStyleDiscriminator takes images of {side}x{side} pixels, got {height}x{width}; crop or resize them"
            )
        x = image
        for stage in range(self.stages):
            for half in (0, 1):
                x = self.get_submodule(f"conv{stage}_{half}")(x)
                if stage or half:
                    x = self.get_submodule(f"bn{stage}_{half}")(x)
                x = F.leaky_relu(x, 0.2, inplace=True)
        x = F.leaky_relu(self.linear1(x.flatten(1)), 0.2, inplace=True)
        logits: Tensor = self.linear2(x)
        return logits


def spec(num_in_ch: int, num_feat: int, input_size: int = 128) -> NetSpec:
    """What a caller must know of `VGGStyleDiscriminator(num_in_ch, num_feat, …)`."""
    return NetSpec(
        in_channels=num_in_ch,
        out_channels=1,
        halo=None,
        global_ops=("linear1",),
        input_size=(input_size, input_size),
        role="discriminator",
    )


VARIANTS: dict[str, Variant] = {
    f"esrgan_discriminator_{input_size}": Variant(
        VGGStyleDiscriminator, {"num_in_ch": 3, "num_feat": 64, "input_size": input_size}
    )
    for input_size in (128, 256)
}

_NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"
_KEYS = re.compile(
    r"conv0_0\.(weight|bias)|conv0_1\.weight|conv[1-5]_[01]\.weight|linear[12]\.(weight|bias)"
    rf"|(bn0_1|bn[1-5]_[01])\.{_NORM}"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no VGGStyleDiscriminator's."""
    first = state_dict.get("conv0_0.weight")
    if first is None or first.ndim != 4 or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    input_size = 256 if "conv5_1.weight" in state_dict else 128
    return Inferred(VGGStyleDiscriminator, {"num_in_ch": first.shape[1], "num_feat": first.shape[0], "input_size": input_size})
