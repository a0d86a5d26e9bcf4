"""RCAN: super-resolution by 2, 3, 4 or 8, four hundred convolutions deep, with channel attention in every block.

Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention Networks, ECCV 2018, arXiv:1807.02758. The
authors' checkpoints load unchanged, those of BasicSR through `rename_keys`. Images are RGB in [0, 1] of any size; inside they
lie in 0..255, around the mean of the training images.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from restoralib.archs.edsr import tail_config, with_means
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.channel_attention import CALayer
from restoralib.blocks.mean_shift import MeanShift, told_range
from restoralib.blocks.upsample import PixelShuffleUpsample


class RCAB(nn.Module):
    """Residual channel attention block: two convolutions and channel attention, added to the input (Fig. 4).

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            CALayer(channels, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.body(x)
        return x + branch


class ResidualGroup(nn.Module):
    """RCABs and a convolution, added to the input.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, reduction: int, n_resblocks: int) -> None:
        super().__init__()
        blocks = (RCAB(channels, reduction) for _ in range(n_resblocks))
        self.body = nn.Sequential(*blocks, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.body(x)
        return x + branch


class RCAN(nn.Module):
    """Residual groups on the small image, a long skip around them, and pixel shuffles (Fig. 2).

    Args:
        n_resgroups: residual groups.
        n_resblocks: blocks of each group.
        n_feats: width of the net.
        reduction: `n_feats` divided by this is the width of the channel attention's bottleneck.
        scale: a power of two, or 3.
        rgb_range: largest value of a channel inside; images are in [0, 1] all the same.
        n_colors: channels in and out; 3, since the mean is that of RGB.

    Shapes: (b, 3, h, w) -> (b, 3, scale h, scale w), any height and width.

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self,
        n_resgroups: int = 10,
        n_resblocks: int = 20,
        n_feats: int = 64,
        reduction: int = 16,
        scale: int = 4,
        rgb_range: float = 255,
        n_colors: int = 3,
    ) -> None:
        super().__init__()
        if n_colors != 3:
            raise ValueError(f"n_colors should be 3, for the mean that is taken is that of RGB images; got {n_colors}")
        if n_resgroups < 1 or n_resblocks < 1 or rgb_range <= 0:
            sizes = f"got {n_resgroups}, {n_resblocks} and {rgb_range}"
            raise ValueError(f"n_resgroups and n_resblocks should be at least 1 and rgb_range more than 0, {sizes}")
        if not 1 <= reduction <= n_feats:
            raise ValueError(f"reduction should be from 1 to n_feats = {n_feats}, got {reduction}")
        self.rgb_range = rgb_range
        self.sub_mean = MeanShift(rgb_range, -1)
        self.add_mean = MeanShift(rgb_range, 1)
        self.head = nn.Sequential(nn.Conv2d(n_colors, n_feats, 3, padding=1))
        groups = (ResidualGroup(n_feats, reduction, n_resblocks) for _ in range(n_resgroups))
        self.body = nn.Sequential(*groups, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        self.tail = nn.Sequential(PixelShuffleUpsample(n_feats, scale), nn.Conv2d(n_feats, n_colors, 3, padding=1))
        self.spec = spec(n_resgroups, n_resblocks, n_feats, reduction, scale, rgb_range, n_colors)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.head(self.sub_mean(self.rgb_range * image))
        restored: Tensor = self.add_mean(self.tail(shallow + self.body(shallow)))
        return restored / self.rgb_range


def spec(
    n_resgroups: int = 10,
    n_resblocks: int = 20,
    n_feats: int = 64,
    reduction: int = 16,
    scale: int = 4,
    rgb_range: float = 255,
    n_colors: int = 3,
) -> NetSpec:
    """What a caller must know of `RCAN(n_resgroups, …)`."""
    config = {
        "n_resgroups": n_resgroups,
        "n_resblocks": n_resblocks,
        "n_feats": n_feats,
        "reduction": reduction,
        "scale": scale,
        "rgb_range": rgb_range,
        "n_colors": n_colors,
    }
    return NetSpec(
        scale=scale,
        halo=None,
        global_ops=("CALayer",),
        tasks=tuple(task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks),
    )


_PUBLISHED = {"n_resgroups": 10, "n_resblocks": 20, "n_feats": 64, "reduction": 16, "rgb_range": 255, "n_colors": 3}

VARIANTS: dict[str, Variant] = {
    f"rcan_x{scale}": Variant(RCAN, {**_PUBLISHED, "scale": scale}, (f"sr{scale}",)) for scale in (2, 3, 4, 8)
}

_KEYS = re.compile(
    r"(sub_mean|add_mean|head\.0|tail\.0\.\d+|tail\.1|body\.\d+\.body\.\d+\.body\.([02]|3\.conv_du\.[02])"
    r"|body\.\d+\.body\.\d+|body\.\d+)\.(weight|bias)"
)
_BOTTLENECK = "body.0.body.0.body.3.conv_du.0.weight"


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict, the range from the values of the mean; None if it is no RCAN's.

    Of `reduction` the weights only keep the width of the bottleneck: it is the least that gives it, 16 for 4 of 64.
    """
    state_dict = rename_keys(state_dict)
    bottleneck = state_dict.get(_BOTTLENECK)
    if bottleneck is None or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    ends = tail_config(state_dict)
    if ends is None or ends["n_colors"] != 3 or bottleneck.ndim != 4 or not 1 <= len(bottleneck) <= ends["n_feats"]:
        return None
    n_feats, width, rgb_range = ends["n_feats"], len(bottleneck), told_range(state_dict["sub_mean.bias"])
    names = [key.split(".") for key in state_dict]
    config = {
        "n_resgroups": len({name[1] for name in names if name[0] == "body" and len(name) > 3}),
        "n_resblocks": len({name[3] for name in names if name[:2] == ["body", "0"] and len(name) > 5}),
        "n_feats": n_feats,
        "reduction": n_feats // (width + 1) + 1 if n_feats % width else n_feats // width,
        "scale": ends["scale"],
        "rgb_range": rgb_range or 255,
        "n_colors": 3,
    }
    return Inferred(RCAN, config, {} if rgb_range else {"rgb_range": "published models have the range 255"})


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of BasicSR's RCAN as the authors' have them; other state dicts as they are.

    BasicSR does not save the mean: it is put in for DIV2K and the range 255, which it has by default.
    """
    if not {"conv_first.weight", "conv_after_body.weight", "body.0.residual_group.0.rcab.0.weight"} <= state_dict.keys():
        return state_dict
    groups = {key.split(".")[1] for key in state_dict if key.startswith("body.")}
    blocks = {key.split(".")[3] for key in state_dict if key.startswith("body.0.residual_group.")}
    rules = {
        r"conv_first\.": "head.0.",
        r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.1\.": r"body.\1.body.\2.body.3.conv_du.0.",
        r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.3\.": r"body.\1.body.\2.body.3.conv_du.2.",
        r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.": r"body.\1.body.\2.body.",
        r"body\.(\d+)\.conv\.": rf"body.\g<1>.body.{len(blocks)}.",
        r"conv_after_body\.": f"body.{len(groups)}.",
        r"upsample\.": "tail.0.",
        r"conv_last\.": "tail.1.",
    }
    return with_means(state_dict, rules)
