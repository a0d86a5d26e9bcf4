"""Restormer: deraining, deblurring and denoising by a U-Net of transformer blocks that attend between channels.

Zamir et al., Restormer: Efficient Transformer for High-Resolution Image Restoration, CVPR 2022, arXiv:2111.09881. The
authors' checkpoints load unchanged. Images are RGB or grey in [0, 1] of any size: they are padded inside by reflection at the
right and at the bottom to multiples of 8. For dual-pixel defocus the left and the right view are stacked to six channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.named import named
from restoralib.blocks.transposed_attention import RestormerBlock, check_restormer_levels, infer_gdfn_factor
from restoralib.blocks.upsample import PixelShuffleDirect, PixelUnshuffleDownsample
from restoralib.ops.pad import pad_to_multiple


class Restormer(nn.Module):
    """The network of Fig. 2, with the authors' constructor arguments and state-dict keys.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result.
        dim: width of the first level, even; each further level doubles it.
        num_blocks: blocks of each of the four levels, the same in encoder and decoder.
        num_refinement_blocks: blocks behind the last decoder.
        heads: attention heads of each level.
        ffn_expansion_factor: width of the feed-forward as a multiple of the level's width, rounded down.
        bias: whether the convolutions have biases; the first one and those that change the size never do.
        LayerNorm_type: the ordinary norm, "WithBias", or that of the denoising models, "BiasFree".
        dual_pixel_task: add the embedded image in front of the last convolution instead of the image behind it.

    Shapes: (b, inp_channels, h, w) -> (b, out_channels, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network.
    """

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: Literal["WithBias", "BiasFree"] = "WithBias",
        dual_pixel_task: bool = False,
    ) -> None:
        super().__init__()
        norm = check_restormer_levels(dim, num_blocks, num_refinement_blocks, heads, LayerNorm_type)
        if not dual_pixel_task and inp_channels != out_channels and 1 not in (inp_channels, out_channels):
            raise ValueError(
                f"the image is added to the result, so {inp_channels} channels in and {out_channels} out do not fit; "
                "make them equal or set dual_pixel_task"
            )

        def blocks(width: int, depth: int, heads: int) -> nn.Sequential:
            return nn.Sequential(*(RestormerBlock(width, heads, ffn_expansion_factor, bias, norm) for _ in range(depth)))

        self.patch_embed = named("proj", nn.Conv2d(inp_channels, dim, 3, padding=1, bias=False))
        width = dim
        for level in (1, 2, 3):
            self.add_module(f"encoder_level{level}", blocks(width, num_blocks[level - 1], heads[level - 1]))
            self.add_module(f"down{level}_{level + 1}", named("body", PixelUnshuffleDownsample(width, bias=False)))
            width *= 2
        self.latent = blocks(width, num_blocks[3], heads[3])
        for level in (3, 2, 1):
            up = PixelShuffleDirect(width, 2, width // 2, bias=False)
            self.add_module(f"up{level + 1}_{level}", named("body", up))
            if level > 1:  # the first level keeps the width of up and skip together
                self.add_module(f"reduce_chan_level{level}", nn.Conv2d(width, width // 2, 1, bias=bias))
                width //= 2
            self.add_module(f"decoder_level{level}", blocks(width, num_blocks[level - 1], heads[level - 1]))
        self.refinement = blocks(width, num_refinement_blocks, heads[0])
        self.skip_conv = nn.Conv2d(dim, width, 1, bias=bias) if dual_pixel_task else None
        self.output = nn.Conv2d(width, out_channels, 3, padding=1, bias=bias)
        self.spec = spec(
            inp_channels=inp_channels,
            out_channels=out_channels,
            dim=dim,
            num_blocks=num_blocks,
            num_refinement_blocks=num_refinement_blocks,
            heads=heads,
            ffn_expansion_factor=ffn_expansion_factor,
            bias=bias,
            LayerNorm_type=LayerNorm_type,
            dual_pixel_task=dual_pixel_task,
        )

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, 8)
        embedded = x = self.patch_embed(padded)
        skips = []
        for level in (1, 2, 3):
            x = self.get_submodule(f"encoder_level{level}")(x)
            skips.append(x)
            x = self.get_submodule(f"down{level}_{level + 1}")(x)
        x = self.latent(x)
        for level in (3, 2, 1):
            x = torch.cat((self.get_submodule(f"up{level + 1}_{level}")(x), skips.pop()), dim=1)
            if level > 1:
                x = self.get_submodule(f"reduce_chan_level{level}")(x)
            x = self.get_submodule(f"decoder_level{level}")(x)
        x = self.refinement(x)
        restored = self.output(x) + padded if self.skip_conv is None else self.output(x + self.skip_conv(embedded))
        return restored[..., :height, :width]


_DEFAULTS: dict[str, Any] = {
    "inp_channels": 3,
    "out_channels": 3,
    "dim": 48,
    "num_blocks": (4, 6, 6, 8),
    "num_refinement_blocks": 4,
    "heads": (1, 2, 4, 8),
    "ffn_expansion_factor": 2.66,
    "bias": False,
    "LayerNorm_type": "WithBias",
    "dual_pixel_task": False,
}
_DUAL_PIXEL = _DEFAULTS | {"inp_channels": 6, "dual_pixel_task": True}
_DENOISING = _DEFAULTS | {"LayerNorm_type": "BiasFree"}
_GRAY_DENOISING = _DENOISING | {"inp_channels": 1, "out_channels": 1}
_NOISE_LEVELS = ("blind", "sigma15", "sigma25", "sigma50")

VARIANTS: dict[str, Variant] = {
    "restormer_deraining": Variant(Restormer, _DEFAULTS, ("derain",)),
    "restormer_motion_deblurring": Variant(Restormer, _DEFAULTS, ("deblur",)),
    "restormer_single_image_defocus": Variant(Restormer, _DEFAULTS, ("defocus",)),
    "restormer_dual_pixel_defocus": Variant(Restormer, _DUAL_PIXEL, ("defocus",)),
    "restormer_real_denoising": Variant(Restormer, _DENOISING, ("denoise_real",)),
    **{f"restormer_gaussian_color_{level}": Variant(Restormer, _DENOISING, ("denoise",)) for level in _NOISE_LEVELS},
    **{f"restormer_gaussian_gray_{level}": Variant(Restormer, _GRAY_DENOISING, ("denoise",)) for level in _NOISE_LEVELS},
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `Restormer(**config)`."""
    config = _DEFAULTS | config
    config |= {"num_blocks": tuple(config["num_blocks"]), "heads": tuple(config["heads"])}
    in_channels, out_channels = config["inp_channels"], config["out_channels"]
    if not config["dual_pixel_task"]:
        out_channels = max(in_channels, out_channels)  # the sum of image and result broadcasts
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        in_channels=in_channels,
        out_channels=out_channels,
        multiple=8,
        halo=None,
        global_ops=("MDTA",),
        tasks=tuple(dict.fromkeys(tasks)),
        color="gray" if in_channels == out_channels == 1 else "rgb",
    )


_LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
_KEY = re.compile(
    r"patch_embed\.proj\.weight"
    r"|(down1_2|down2_3|down3_4|up4_3|up3_2|up2_1)\.body\.0\.weight"
    r"|(reduce_chan_level[23]|skip_conv|output)\.(weight|bias)"
    r"|(encoder_level[123]|latent|decoder_level[123]|refinement)\.\d+\."
    r"(norm[12]\.body\.(weight|bias)|attn\.temperature"
    r"|(attn\.(qkv|qkv_dwconv|project_out)|ffn\.(project_in|dwconv|project_out))\.(weight|bias))"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no Restormer's.

    Of `ffn_expansion_factor` the weights only keep the rounded widths: it is 2.66 or else the shortest decimal that gives them.
    """
    dims = {"patch_embed.proj.weight": 4, "output.weight": 4, **{f"{level}.0.attn.temperature": 3 for level in _LEVELS}}
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None  # PromptIR, DiffIR and others have all of Restormer's keys and some of their own
    if not all(key in state_dict and state_dict[key].ndim == ndim for key, ndim in dims.items()):
        return None
    factor = infer_gdfn_factor({value.shape for key, value in state_dict.items() if key.endswith("ffn.project_out.weight")})
    if factor is None:
        return None
    dim, inp_channels = state_dict["patch_embed.proj.weight"].shape[:2]
    config = {
        "inp_channels": inp_channels,
        "out_channels": len(state_dict["output.weight"]),
        "dim": dim,
        "num_blocks": tuple(_depth(state_dict, level) for level in _LEVELS),
        "num_refinement_blocks": _depth(state_dict, "refinement"),
        "heads": tuple(len(state_dict[f"{level}.0.attn.temperature"]) for level in _LEVELS),
        "ffn_expansion_factor": factor,
        "bias": "output.bias" in state_dict,
        "LayerNorm_type": "WithBias" if "latent.0.norm1.body.bias" in state_dict else "BiasFree",
        "dual_pixel_task": "skip_conv.weight" in state_dict,
    }
    return Inferred(Restormer, config)


def _depth(state_dict: StateDict, level: str) -> int:
    return sum(key.startswith(f"{level}.") and key.endswith(".attn.temperature") for key in state_dict)
