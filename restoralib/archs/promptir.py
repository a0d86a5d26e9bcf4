"""PromptIR: one network for noise, rain and haze, whose decoder learnt prompts tell what is wrong with the image.

Potlapalli et al., PromptIR: Prompting for All-in-One Image Restoration, NeurIPS 2023, arXiv:2306.13090. Restormer
(arXiv:2111.09881) with a prompt behind its latent and two of its decoders. The authors' checkpoint loads unchanged; six of its
layers belong to no step of the network and are kept without being used. Images are RGB in [0, 1] of any size: they are padded
inside by reflection at the right and at the bottom to multiples of 8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.named import named
from restoralib.blocks.transposed_attention import RestormerBlock, check_restormer_levels, infer_gdfn_factor
from restoralib.blocks.upsample import PixelShuffleDirect, PixelUnshuffleDownsample
from restoralib.ops.pad import pad_to_multiple

_PROMPTS = 5  # learnt for each level, of which a mixture is taken
# Channels and side of the prompts of levels 1 to 3, and what the layers that have lost their use would make of the channels.
_CHANNELS, _SIDES, _REDUCED = (64, 128, 320), (64, 32, 16), (64, 128, 256)


class PromptGenBlock(nn.Module):
    """Prompt generation module: a mixture of learnt maps, chosen by the features' mean and stretched to their size (eq. 2).

    The maps are stretched over whatever image comes, so a tile does not get what the whole image would give it there. That is
    why the mean is no GlobalMean: tiles cannot give what `exact=True` promises, so it should be refused.

    Args:
        channels: of the prompt.
        side: height and width of the learnt maps.
        features: channels of the features that choose.

    Shapes: (b, features, h, w) -> (b, channels, h, w), any height and width.
    """

    def __init__(self, channels: int, side: int, features: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, _PROMPTS, channels, side, side))
        self.linear_layer = nn.Linear(features, _PROMPTS)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.linear_layer(x.mean((2, 3))).softmax(dim=1)
        prompt = torch.einsum("bn,nchw->bchw", weights.to(self.prompt_param.dtype), self.prompt_param[0])
        return self.conv3x3(F.interpolate(prompt, x.shape[2:], mode="bilinear"))


class PromptIR(nn.Module):
    """The network of Fig. 2, with the authors' constructor arguments and state-dict keys.

    The layers without use take no gradient, so that they do not get into the way of data-parallel training.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result.
        dim: width of the first level, even; each further level doubles it. The authors' code runs only with 48.
        num_blocks: blocks of each of the four levels, the same in encoder and decoder.
        num_refinement_blocks: blocks behind the last decoder.
        heads: attention heads of each level; the blocks that take up a prompt have those of the third.
        ffn_expansion_factor: width of the feed-forward as a multiple of the level's width, rounded down.
        bias: whether the convolutions have biases; the first one, those that change the size and those of the prompts never do.
        LayerNorm_type: the ordinary norm, "WithBias", or "BiasFree".
        decoder: whether there are prompts; they have to be, for without them the authors' network does not run.

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
        decoder: bool = True,
    ) -> None:
        super().__init__()
        if not decoder:
            raise ValueError("PromptIR needs its prompts, got decoder=False; Restormer is the network without")
        norm = check_restormer_levels(dim, num_blocks, num_refinement_blocks, heads, LayerNorm_type)
        if inp_channels != out_channels and 1 not in (inp_channels, out_channels):
            raise ValueError(f"the image is added to the result; {inp_channels} channels in and {out_channels} out do not fit")

        def block(width: int, heads: int) -> RestormerBlock:
            return RestormerBlock(width, heads, ffn_expansion_factor, bias, norm)

        def blocks(width: int, depth: int, heads: int) -> nn.Sequential:
            return nn.Sequential(*(block(width, heads) for _ in range(depth)))

        def idle(before: int, after: int) -> nn.Module:
            return nn.Conv2d(before, after, 1, bias=bias).requires_grad_(False)

        self.patch_embed = named("proj", nn.Conv2d(inp_channels, dim, 3, padding=1, bias=False))
        for level, (channels, side) in enumerate(zip(_CHANNELS, _SIDES, strict=True), 1):
            self.add_module(f"prompt{level}", PromptGenBlock(channels, side, dim << level))
        for level, (channels, reduced) in enumerate(zip(_CHANNELS, _REDUCED, strict=True), 1):
            self.add_module(f"chnl_reduce{level}", idle(channels, reduced))
        width = dim
        for level in (1, 2, 3):
            self.add_module(f"reduce_noise_channel_{level}", idle(width + _REDUCED[level - 1], width))
            self.add_module(f"encoder_level{level}", blocks(width, num_blocks[level - 1], heads[level - 1]))
            self.add_module(f"down{level}_{level + 1}", named("body", PixelUnshuffleDownsample(width, bias=False)))
            width *= 2
        self.latent = blocks(width, num_blocks[3], heads[3])
        for level in (3, 2, 1):
            # What comes from below takes up its prompt and is reduced, at the deepest level to half of its width.
            skip = dim << (level - 1)
            prompted, reduced = width + _CHANNELS[level - 1], min(width, 4 * dim)
            up = PixelShuffleDirect(reduced, 2, reduced // 2, bias=False)
            self.add_module(f"up{level + 1}_{level}", named("body", up))
            joined = reduced // 2 + skip
            if level > 1:  # the first level keeps the width of up and skip together
                self.add_module(f"reduce_chan_level{level}", nn.Conv2d(joined, skip, 1, bias=bias))
                joined = skip
            self.add_module(f"noise_level{level}", block(prompted, heads[2]))
            self.add_module(f"reduce_noise_level{level}", nn.Conv2d(prompted, reduced, 1, bias=bias))
            self.add_module(f"decoder_level{level}", blocks(joined, num_blocks[level - 1], heads[level - 1]))
            width = joined
        self.refinement = blocks(width, num_refinement_blocks, heads[0])
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
            decoder=decoder,
        )

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, 8)
        x = self.patch_embed(padded)
        skips = []
        for level in (1, 2, 3):
            x = self.get_submodule(f"encoder_level{level}")(x)
            skips.append(x)
            x = self.get_submodule(f"down{level}_{level + 1}")(x)
        x = self.latent(x)
        for level in (3, 2, 1):
            x = torch.cat((x, self.get_submodule(f"prompt{level}")(x)), dim=1)
            x = self.get_submodule(f"reduce_noise_level{level}")(self.get_submodule(f"noise_level{level}")(x))
            x = torch.cat((self.get_submodule(f"up{level + 1}_{level}")(x), skips.pop()), dim=1)
            if level > 1:
                x = self.get_submodule(f"reduce_chan_level{level}")(x)
            x = self.get_submodule(f"decoder_level{level}")(x)
        restored = self.output(self.refinement(x)) + padded
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
    "decoder": True,
}

VARIANTS: dict[str, Variant] = {"promptir": Variant(PromptIR, _DEFAULTS, ("denoise", "derain", "dehaze"))}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `PromptIR(**config)`."""
    config = _DEFAULTS | config
    config |= {"num_blocks": tuple(config["num_blocks"]), "heads": tuple(config["heads"])}
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        in_channels=config["inp_channels"],
        out_channels=max(config["inp_channels"], config["out_channels"]),  # the sum of image and result broadcasts
        multiple=8,
        halo=None,
        global_ops=("MDTA", "prompt"),
        tasks=tuple(tasks),
        color="gray" if config["inp_channels"] == config["out_channels"] == 1 else "rgb",
    )


_LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
_KEY = re.compile(
    r"patch_embed\.proj\.weight"
    r"|prompt[123]\.(prompt_param|linear_layer\.(weight|bias)|conv3x3\.weight)"
    r"|(chnl_reduce|reduce_noise_channel_|reduce_noise_level)[123]\.(weight|bias)"
    r"|(down1_2|down2_3|down3_4|up4_3|up3_2|up2_1)\.body\.0\.weight"
    r"|(reduce_chan_level[23]|output)\.(weight|bias)"
    r"|((encoder_level[123]|latent|decoder_level[123]|refinement)\.\d+|noise_level[123])\."
    r"(norm[12]\.body\.(weight|bias)|attn\.temperature"
    r"|(attn\.(qkv|qkv_dwconv|project_out)|ffn\.(project_in|dwconv|project_out))\.(weight|bias))"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no PromptIR's."""
    dims = {"patch_embed.proj.weight": 4, "output.weight": 4, **{f"{level}.0.attn.temperature": 3 for level in _LEVELS}}
    dims |= {f"prompt{level}.prompt_param": 5 for level in (1, 2, 3)}
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
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
        "decoder": True,
    }
    return Inferred(PromptIR, config)


def _depth(state_dict: StateDict, level: str) -> int:
    return sum(key.startswith(f"{level}.") and key.endswith(".attn.temperature") for key in state_dict)
