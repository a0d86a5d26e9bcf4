"""RRDBNet, the generator of ESRGAN and Real-ESRGAN: super-resolution by 4, 2 or 1.

Wang et al., ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, ECCV Workshops 2018, arXiv:1809.00219; Wang et
al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, ICCV Workshops 2021, arXiv:2107.10833.
The checkpoints of Real-ESRGAN and BasicSR load unchanged, those of ESRGAN's two releases through `rename_keys`. Images are RGB
in [0, 1] of any size; for scales 2 and 1 they are padded inside by reflection at the right and at the bottom to multiples of 2
and 4.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.rrdb import RRDB
from restoralib.ops.pad import pad_to_multiple

_UNSHUFFLE = {4: 1, 2: 2, 1: 4}  # the net enlarges by 4, so for smaller scales the image is made smaller first


class RRDBNet(nn.Module):
    """Residual in residual dense blocks on the small image, then twice nearest neighbours by 2 and a convolution.

    Args:
        num_in_ch: channels of the image.
        num_out_ch: channels of the result.
        scale: 4; 2 and 1 shuffle pixels into channels first, so that all but the ends runs on a half or a quarter of the size.
        num_feat: width of the net.
        num_block: RRDBs.
        num_grow_ch: growth of the dense blocks.

    Shapes: (b, num_in_ch, h, w) -> (b, num_out_ch, scale h, scale w), any height and width.

    Raises:
        ValueError: an argument has another value than those named, or is less than one.
    """

    def __init__(
        self,
        num_in_ch: int,
        num_out_ch: int,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
    ) -> None:
        super().__init__()
        if scale not in _UNSHUFFLE:
            raise ValueError(f"scale should be 1, 2 or 4, got {scale}")
        sizes = {"num_in_ch": num_in_ch, "num_out_ch": num_out_ch, "num_feat": num_feat}
        for name, value in (sizes | {"num_block": num_block, "num_grow_ch": num_grow_ch}).items():
            if value < 1:
                raise ValueError(f"{name} should be at least 1, got {value}")
        self.conv_first = nn.Conv2d(num_in_ch * _UNSHUFFLE[scale] ** 2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        with torch.no_grad():  # small at the start, as the paper's appendix asks of deep nets without batch norm
            for layer in self.body.modules():
                if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                    nn.init.kaiming_normal_(layer.weight).mul_(0.1)
                    nn.init.zeros_(layer.bias)
        self.spec = spec(num_in_ch, num_out_ch, scale, num_feat, num_block, num_grow_ch)

    def forward(self, image: Tensor) -> Tensor:
        scale = self.spec.scale
        height, width = scale * image.shape[-2], scale * image.shape[-1]
        if scale < 4:
            factor = _UNSHUFFLE[scale]
            image = F.pixel_unshuffle(pad_to_multiple(image, factor), factor)
        shallow = self.conv_first(image)
        x = shallow + self.conv_body(self.body(shallow))
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2, inplace=True)
        restored: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2, inplace=True))
        return restored[..., :height, :width]


def spec(
    num_in_ch: int,
    num_out_ch: int,
    scale: int = 4,
    num_feat: int = 64,
    num_block: int = 23,
    num_grow_ch: int = 32,
) -> NetSpec:
    """What a caller must know of `RRDBNet(num_in_ch, num_out_ch, …)`."""
    config = {
        "num_in_ch": num_in_ch,
        "num_out_ch": num_out_ch,
        "scale": scale,
        "num_feat": num_feat,
        "num_block": num_block,
        "num_grow_ch": num_grow_ch,
    }
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        scale=scale,
        in_channels=num_in_ch,
        out_channels=num_out_ch,
        multiple=_UNSHUFFLE[scale],
        # Fifteen convolutions a block, one in front and one behind; all that follow, on larger grids, reach two pixels.
        halo=_UNSHUFFLE[scale] * (15 * num_block + 4),
        tasks=tuple(dict.fromkeys(tasks)),
        color="gray" if num_in_ch == num_out_ch == 1 else "rgb",
    )


def _variant(task: str, scale: int = 4, num_block: int = 23) -> Variant:
    config = {"num_in_ch": 3, "num_out_ch": 3, "scale": scale, "num_feat": 64, "num_block": num_block, "num_grow_ch": 32}
    return Variant(RRDBNet, config, (task,))


VARIANTS: dict[str, Variant] = {
    "esrgan_x4": _variant("sr4"),
    "esrgan_psnr_x4": _variant("sr4"),
    "realesrgan_x4plus": _variant("sr4"),
    "realesrnet_x4plus": _variant("sr4"),
    "realesrgan_x2plus": _variant("sr2", scale=2),
    "realesrgan_x4plus_anime_6b": _variant("sr4", num_block=6),
}

_KEYS = re.compile(r"(conv_first|body\.\d+\.rdb[123]\.conv[1-5]|conv_body|conv_up[12]|conv_hr|conv_last)\.(weight|bias)")
_DENSE = "body.0.rdb1.conv1.weight"


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Everything from shapes; None for weights of another family.

    A first convolution that sees 4 or 16 times as many channels as the result has belongs to scale 2 or 1 with as many
    channels in as out.
    """
    state_dict = rename_keys(state_dict)
    if not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    ends = [state_dict.get(key) for key in ("conv_first.weight", "conv_last.weight", _DENSE)]
    if not all(weight is not None and weight.ndim == 4 for weight in ends):
        return None
    (num_feat, seen), num_out_ch = state_dict["conv_first.weight"].shape[:2], len(state_dict["conv_last.weight"])
    scale = next((scale for scale, factor in _UNSHUFFLE.items() if seen == num_out_ch * factor**2), 4)
    config = {
        "num_in_ch": seen // _UNSHUFFLE[scale] ** 2,
        "num_out_ch": num_out_ch,
        "scale": scale,
        "num_feat": num_feat,
        "num_block": len({key.split(".")[1] for key in state_dict if key.startswith("body.")}),
        "num_grow_ch": len(state_dict[_DENSE]),
    }
    return Inferred(RRDBNet, config)


_SECOND_RELEASE = {
    r"RRDB_trunk\.(\d+)\.RDB([123])\.": r"body.\1.rdb\2.",
    r"trunk_conv\.": "conv_body.",
    r"upconv([12])\.": r"conv_up\1.",
    r"HRconv\.": "conv_hr.",
}
_FIRST_RELEASE = {
    r"model\.0\.": "conv_first.",
    r"model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.": r"body.\1.rdb\2.conv\3.",
    r"model\.1\.sub\.\d+\.": "conv_body.",
    r"model\.3\.": "conv_up1.",
    r"model\.6\.": "conv_up2.",
    r"model\.8\.": "conv_hr.",
    r"model\.10\.": "conv_last.",
}


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of ESRGAN's two releases as BasicSR and Real-ESRGAN have them; other state dicts as they are."""
    if any(key.startswith("RRDB_trunk.") for key in state_dict):
        rules = _SECOND_RELEASE
    elif any(key.startswith("model.1.sub.") for key in state_dict):
        rules = _FIRST_RELEASE
    else:
        return state_dict
    renamed = {}
    for key, value in state_dict.items():
        new = next((re.sub(old, new, key, count=1) for old, new in rules.items() if re.match(old, key)), key)
        renamed[new] = value
    return renamed if len(renamed) == len(state_dict) else state_dict
