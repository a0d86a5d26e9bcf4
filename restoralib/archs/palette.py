"""Palette's U-Net: the noise in a noisy image beside a degraded one, for inpainting, uncropping, colouring.

Saharia et al., Palette: Image-to-Image Diffusion Models, SIGGRAPH 2022, arXiv:2111.05826, in the unofficial implementation
Janspiry/Palette-Image-to-Image-Diffusion-Models, whose checkpoints load unchanged. It is guided diffusion's network, told the
level of noise instead of the time, and one step of a diffusion: six channels in [-1, 1] in, the degraded image before the
noisy one, and noise out. Any size, padded inside as `GuidedUNet` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from restoralib.archs.guided_diffusion import BODY_KEY, UNRECORDED, UNetBody, adm_layers, published_with, read_body
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.embedding import TimeEmbedding, times_of


class PaletteUNet(UNetBody):
    """The implementation's UNet, with its constructor arguments and state-dict keys.

    Args:
        image_size: side of the training images; the network is the same for all.
        in_channel: channels of the degraded and the noisy image together.
        inner_channel: unit of the widths, even.
        out_channel: channels of the result.
        res_blocks: residual blocks of each level; the decoder has one more.
        attn_res: factors of halving (1, 2, 4 …), not sides, at which there is attention. The middle always has it; nothing
            else has in the published configuration, whose four levels do not reach its factor, 16.
        dropout: in the residual blocks.
        channel_mults: width of each level in units of `inner_channel`; whole multiples of 32 channels.
        conv_resample, use_checkpoint, use_fp16: as for `GuidedUNet`.
        num_heads, num_head_channels, num_heads_upsample: as for `GuidedUNet`.
        use_scale_shift_norm, resblock_updown, use_new_attention_order: as for `GuidedUNet`.

    Shapes: (b, in_channel, h, w) and the levels, the mean of the signal's squares (alpha bar, called gamma) in [0, 1], as
        (b,), (b, 1), one value or a number -> (b, out_channel, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, the levels do not fit the images.
    """

    def __init__(
        self,
        image_size: int,
        in_channel: int,
        inner_channel: int,
        out_channel: int,
        res_blocks: int,
        attn_res: Sequence[int],
        dropout: float = 0.0,
        channel_mults: Sequence[float] = (1, 2, 4, 8),
        conv_resample: bool = True,
        use_checkpoint: bool = False,
        use_fp16: bool = False,
        num_heads: int = 1,
        num_head_channels: int = -1,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = True,
        resblock_updown: bool = True,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        self.cond_embed = TimeEmbedding(inner_channel, 4 * inner_channel)
        layers = adm_layers(
            4 * inner_channel,
            dropout=dropout,
            conv_resample=conv_resample,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            num_heads_upsample=num_heads_upsample,
            use_scale_shift_norm=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            use_new_attention_order=use_new_attention_order,
        )
        self.build(
            layers,
            in_channels=in_channel,
            model_channels=inner_channel,
            out_channels=out_channel,
            num_res_blocks=res_blocks,
            attention_resolutions=attn_res,
            channel_mult=channel_mults,
            use_checkpoint=use_checkpoint,
        )
        self.spec = spec(in_channel=in_channel, out_channel=out_channel, channel_mults=channel_mults)

    def forward(self, image: Tensor, level: Tensor | float) -> Tensor:
        return self.run(image, self.cond_embed(times_of(image, level, "level")))


_CONFIG = {
    "image_size": 256,
    "in_channel": 6,
    "inner_channel": 64,
    "out_channel": 3,
    "res_blocks": 2,
    "attn_res": (16,),
    "dropout": 0.2,
    "channel_mults": (1, 2, 4, 8),
    "num_head_channels": 32,
}
VARIANTS: dict[str, Variant] = {"palette_inpainting_celebahq": Variant(PaletteUNet, _CONFIG)}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `PaletteUNet(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channel", 6),
        out_channels=config.get("out_channel", 3),
        multiple=2 ** (len(config.get("channel_mults", (1, 2, 4, 8))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=UNRECORDED,
        role="denoiser",
        inputs=("image", "level"),
    )


_KEY = re.compile(rf"cond_embed\.[02]\.(?:weight|bias)|{BODY_KEY}")
_NAMES = {
    "in_channels": "in_channel",
    "model_channels": "inner_channel",
    "out_channels": "out_channel",
    "num_res_blocks": "res_blocks",
    "attention_resolutions": "attn_res",
    "channel_mult": "channel_mults",
}
_SCHEDULE = re.compile(r"(sqrt_recip(m1)?_)?gammas|posterior_(log_variance_clipped|mean_coef[12])")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The layers tell all but the heads, which are those of the published configurations, 32 channels wide."""
    state_dict = rename_keys(state_dict)
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    body = read_body(state_dict, "cond_embed")
    if body is None:
        return None
    layers = {_NAMES.get(key, key): value for key, value in body.items()}
    # Attention at a factor that no level reaches leaves no trace.
    known = published_with({key: value for key, value in layers.items() if key != "attn_res"}, VARIANTS)[1]
    layers = known | layers | ({"attn_res": known["attn_res"]} if known and not layers["attn_res"] else {})
    assumed = {
        "num_head_channels": "as published; num_heads counts beside num_head_channels=-1",
        "use_new_attention_order": "as published",
    }
    convention = {"image_size": 256, "num_head_channels": 32, "use_new_attention_order": False}
    return Inferred(PaletteUNet, convention | layers, assumed)


def rename_keys(state_dict: StateDict) -> StateDict:
    """The network's own keys for a file of the whole diffusion, without its tables of the noise levels."""
    prefix = "denoise_fn."
    if not any(key.startswith(prefix + "cond_embed.") for key in state_dict):
        return state_dict
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if not _SCHEDULE.fullmatch(key)}
