"""DnCNN: denoising by a plain stack of convolutions that predicts the noise.

Zhang et al., Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, TIP 2017, arXiv:1608.03981. The
checkpoints of cszn/KAIR load unchanged. Images are in [0, 1], grey or RGB, of any size.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant

_ACT_MODES = ("R", "L", "BR", "BL")


class DnCNN(nn.Module):
    """Convolutions with activations between them; their result, the noise, is subtracted from the image.

    Args:
        in_nc: channels of the image.
        out_nc: channels of the noise, the same.
        nc: channels of the features.
        nb: number of convolutions; 17 for a known noise level, 20 for blind models.
        act_mode: what follows the convolutions: "R" for ReLU, "L" for leaky ReLU of slope 0.2; with "B" before it, all but the
            first and the last convolution have a batch norm between. The published weights have theirs merged into the
            convolutions: they are "R".

    Shapes: (b, in_nc, h, w) -> (b, in_nc, h, w), any height and width.

    Raises:
        ValueError: an argument is too small, the channels differ, or the mode is unknown.
    """

    def __init__(self, in_nc: int = 1, out_nc: int = 1, nc: int = 64, nb: int = 17, act_mode: str = "BR") -> None:
        super().__init__()
        if in_nc != out_nc or in_nc < 1:
            raise ValueError(f"in_nc and out_nc should be equal, for the noise is subtracted; got {in_nc} and {out_nc}")
        if nc < 1 or nb < 2:
            raise ValueError(f"nc should be at least 1 and nb at least 2, got {nc} and {nb}")
        if act_mode not in _ACT_MODES:
            raise ValueError(f"act_mode should be one of {', '.join(_ACT_MODES)}, got {act_mode!r}")
        layers: list[nn.Module] = [nn.Conv2d(in_nc, nc, 3, padding=1), _activation(act_mode)]
        for _ in range(nb - 2):
            layers.append(nn.Conv2d(nc, nc, 3, padding=1))
            if act_mode.startswith("B"):
                layers.append(nn.BatchNorm2d(nc, eps=1e-4, momentum=0.9))
            layers.append(_activation(act_mode))
        self.model = nn.Sequential(*layers, nn.Conv2d(nc, out_nc, 3, padding=1))
        self.spec = spec(in_nc, out_nc, nc, nb, act_mode)

    def forward(self, image: Tensor) -> Tensor:
        noise: Tensor = self.model(image)
        return image - noise


def _activation(act_mode: str) -> nn.Module:
    return nn.ReLU(inplace=True) if act_mode.endswith("R") else nn.LeakyReLU(0.2, inplace=True)


def _config(channels: int, nb: int) -> dict[str, int | str]:
    return {"in_nc": channels, "out_nc": channels, "nc": 64, "nb": nb, "act_mode": "R"}


VARIANTS: dict[str, Variant] = {
    **{f"dncnn_{sigma}": Variant(DnCNN, _config(1, 17), ("denoise",)) for sigma in (15, 25, 50)},
    "dncnn_gray_blind": Variant(DnCNN, _config(1, 20), ("denoise",)),
    "dncnn_color_blind": Variant(DnCNN, _config(3, 20), ("denoise",)),
    # One model for three tasks; its super-resolution starts from an image enlarged bicubically.
    "dncnn3": Variant(DnCNN, _config(1, 20), ("denoise", "jpeg")),
}


def spec(in_nc: int = 1, out_nc: int = 1, nc: int = 64, nb: int = 17, act_mode: str = "BR") -> NetSpec:
    """What a caller must know of `DnCNN(in_nc, …)`."""
    config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "nb": nb, "act_mode": act_mode}
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        in_channels=in_nc,
        out_channels=out_nc,
        halo=nb,
        tasks=tuple(dict.fromkeys(tasks)),
        unrecorded=("act_mode",),  # no weight tells a slope
        color="gray" if in_nc == 1 else "rgb",
    )


_KEY = re.compile(r"model\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict, with ReLU; None if it is no DnCNN's.

    IRCNN has the same names and shapes, and dilations that nothing tells; its published files hold many networks each.
    """
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    convolutions = [value for key, value in state_dict.items() if key.endswith(".weight") and value.ndim == 4]
    nb = len(convolutions)
    norm = any(key.endswith(".running_mean") for key in state_dict)
    # The first convolution and its activation, then groups of two or three layers.
    step = 3 if norm else 2
    last = 2 + step * (nb - 2)
    places = [0, *range(2, last, step), last]
    if nb < 2 or (norm and nb < 3):
        return None
    names = {f"model.{place}.{name}" for place in places for name in ("weight", "bias")}
    if norm:
        values = ("weight", "bias", "running_mean", "running_var")
        names |= {f"model.{place + 1}.{name}" for place in places[1:-1] for name in values}
    if {key for key in state_dict if not key.endswith("num_batches_tracked")} != names:
        return None
    weights = [tuple(state_dict[f"model.{place}.weight"].shape) for place in places]
    nc, channels = (*weights[0][:2], 0, 0)[:2]
    expected = [(nc, channels, 3, 3), *[(nc, nc, 3, 3)] * (nb - 2), (channels, nc, 3, 3)]
    if weights != expected or not nc * channels:
        return None  # among others FDnCNN, whose second input channel is a map of the noise level
    config = {"in_nc": channels, "out_nc": channels, "nc": nc, "nb": nb, "act_mode": "BR" if norm else "R"}
    return Inferred(DnCNN, config, {"act_mode": "ReLU, as in all published models"})
