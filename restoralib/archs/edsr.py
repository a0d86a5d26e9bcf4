"""EDSR: super-resolution by 2, 3, 4 or any power of two, residual blocks without batch norm.

Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR Workshops 2017, arXiv:1707.02921. The
checkpoints of sanghyun-son/EDSR-PyTorch load unchanged, those of BasicSR through `rename_keys`. Images are RGB in [0, 1] of any
size; inside they lie in 0..255, around the mean of DIV2K.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.mean_shift import MeanShift, told_range
from restoralib.blocks.upsample import PixelShuffleUpsample


class ResBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, times a factor, added to the input: `ResidualBlock` with the authors' keys.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x.add(self.body(x), alpha=self.res_scale)


class EDSR(nn.Module):
    """Residual blocks on the small image, a long skip around them, and pixel shuffles.

    Args:
        n_resblocks: residual blocks.
        n_feats: width of the net.
        scale: a power of two, or 3.
        res_scale: factor of the residual branches; 0.1 in the published models of 256 features, else 1. No weight tells it.
        rgb_range: largest value of a channel inside; images are in [0, 1] all the same.
        n_colors: channels in and out; 3, since the mean is that of RGB.

    Shapes: (b, 3, h, w) -> (b, 3, scale h, scale w), any height and width.

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self,
        n_resblocks: int = 16,
        n_feats: int = 64,
        scale: int = 4,
        res_scale: float = 1,
        rgb_range: float = 255,
        n_colors: int = 3,
    ) -> None:
        super().__init__()
        if n_colors != 3:
            raise ValueError(f"n_colors should be 3, for the mean that is taken is that of RGB images; got {n_colors}")
        if n_resblocks < 1 or n_feats < 1 or rgb_range <= 0:
            sizes = f"got {n_resblocks}, {n_feats} and {rgb_range}"
            raise ValueError(f"n_resblocks and n_feats should be at least 1 and rgb_range more than 0, {sizes}")
        self.rgb_range = rgb_range
        self.sub_mean = MeanShift(rgb_range, -1)
        self.add_mean = MeanShift(rgb_range, 1)
        self.head = nn.Sequential(nn.Conv2d(n_colors, n_feats, 3, padding=1))
        self.body = nn.Sequential(
            *(ResBlock(n_feats, res_scale) for _ in range(n_resblocks)), nn.Conv2d(n_feats, n_feats, 3, padding=1)
        )
        self.tail = nn.Sequential(PixelShuffleUpsample(n_feats, scale), nn.Conv2d(n_feats, n_colors, 3, padding=1))
        self.spec = spec(n_resblocks, n_feats, scale, res_scale, rgb_range, n_colors)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.head(self.sub_mean(self.rgb_range * image))
        restored: Tensor = self.add_mean(self.tail(shallow + self.body(shallow)))
        return restored / self.rgb_range


def spec(
    n_resblocks: int = 16,
    n_feats: int = 64,
    scale: int = 4,
    res_scale: float = 1,
    rgb_range: float = 255,
    n_colors: int = 3,
) -> NetSpec:
    """What a caller must know of `EDSR(n_resblocks, …)`."""
    config = {
        "n_resblocks": n_resblocks,
        "n_feats": n_feats,
        "scale": scale,
        "res_scale": res_scale,
        "rgb_range": rgb_range,
        "n_colors": n_colors,
    }
    return NetSpec(
        scale=scale,
        # One for the first convolution, two a block, one behind them; the tail looks at pixels as small or smaller.
        halo=1 + 2 * n_resblocks + 1 + (2 if scale > 1 else 1),
        tasks=tuple(task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks),
        unrecorded=("res_scale",),
    )


def _variant(n_resblocks: int, n_feats: int, scale: int, res_scale: float) -> Variant:
    sizes = {"n_resblocks": n_resblocks, "n_feats": n_feats, "scale": scale}
    return Variant(EDSR, {**sizes, "res_scale": res_scale, "rgb_range": 255, "n_colors": 3}, (f"sr{scale}",))


VARIANTS: dict[str, Variant] = {
    **{f"edsr_baseline_x{scale}": _variant(16, 64, scale, 1) for scale in (2, 3, 4)},
    **{f"edsr_x{scale}": _variant(32, 256, scale, 0.1) for scale in (2, 3, 4)},
}

_ENDS = r"(sub_mean|add_mean|head\.0|tail\.0\.\d+|tail\.1)"
_KEYS = re.compile(rf"({_ENDS}|body\.\d+\.body\.[02]|body\.\d+)\.(weight|bias)")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict, the range from the values of the mean; None if it is no EDSR's."""
    state_dict = rename_keys(state_dict)
    blocks = {key.split(".")[1] for key in state_dict if re.match(r"body\.\d+\.body\.", key)}
    if not blocks or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    ends = tail_config(state_dict)
    if ends is None or ends["n_colors"] != 3:
        return None
    n_feats, scale, rgb_range = ends["n_feats"], ends["scale"], told_range(state_dict["sub_mean.bias"])
    config = {
        "n_resblocks": len(blocks),
        "n_feats": n_feats,
        "scale": scale,
        "res_scale": 0.1 if n_feats == 256 else 1,
        "rgb_range": rgb_range or 255,
        "n_colors": 3,
    }
    assumed = {"res_scale": "the published models of 256 features have 0.1 and the others 1"}
    if rgb_range is None:
        assumed["rgb_range"] = "published models have the range 255"
    return Inferred(EDSR, config, assumed)


def tail_config(state_dict: StateDict) -> dict[str, int] | None:
    """Width, channels and scale, from the ends that EDSR and RCAN share; None where they make none."""
    head, last, mean = (state_dict.get(key) for key in ("head.0.weight", "tail.1.weight", "sub_mean.bias"))
    if head is None or last is None or mean is None or head.ndim != 4 or not len(head):
        return None
    n_feats, n_colors = head.shape[:2]
    stages = [len(value) for key, value in state_dict.items() if re.fullmatch(r"tail\.0\.\d+\.weight", key) and value.ndim == 4]
    if stages == [9 * n_feats]:
        scale = 3
    elif all(width == 4 * n_feats for width in stages) and len(stages) < 16:
        scale = 2 ** len(stages)
    else:
        return None
    return {"n_feats": n_feats, "scale": scale, "n_colors": n_colors}


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of BasicSR's EDSR as the authors' have them; other state dicts as they are.

    BasicSR does not save the mean: it is put in for DIV2K and the range 255, which it has by default.
    """
    if not {"conv_first.weight", "conv_after_body.weight", "body.0.conv1.weight"} <= state_dict.keys():
        return state_dict
    blocks = {key.split(".")[1] for key in state_dict if key.startswith("body.")}
    rules = {
        r"conv_first\.": "head.0.",
        r"body\.(\d+)\.conv1\.": r"body.\1.body.0.",
        r"body\.(\d+)\.conv2\.": r"body.\1.body.2.",
        r"conv_after_body\.": f"body.{len(blocks)}.",
        r"upsample\.": "tail.0.",
        r"conv_last\.": "tail.1.",
    }
    return with_means(state_dict, rules)


def with_means(state_dict: StateDict, rules: dict[str, str]) -> StateDict:
    """The keys of a state dict rewritten by rules, behind those of the mean in BasicSR's range."""
    renamed = {
        f"{name}.{part}": value
        for name, sign in (("sub_mean", -1), ("add_mean", 1))
        for part, value in MeanShift(255, sign).state_dict().items()
    }
    for key, value in state_dict.items():
        renamed[next((re.sub(old, new, key, count=1) for old, new in rules.items() if re.match(old, key)), key)] = value
    return renamed
