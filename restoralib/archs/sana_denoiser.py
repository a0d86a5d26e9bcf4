"""The SANA-Denoiser: SANA's transformer that is also given the latents of a degraded picture.

The degraded latents stand behind the noisy ones as channels, and a 1x1 convolution without bias brings both to the channels
that SANA takes. It starts as the identity on the noisy latents and zero on the degraded ones: a new network is the
text-to-image model, whatever the condition, and its published weights load into it (`from_base`). For 32 channels these are
2,048 new weights. The text names the degradation. Flow, range and size are those of SANA (Xie et al., arXiv:2410.10629); that
concatenation suffices where input and output lie pixel on pixel is known of Palette (arXiv:2111.05826) and InstructPix2Pix
(arXiv:2211.09800).
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs import sana
from restoralib.archs.sana import Grid, SanaTransformer
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant


class SanaDenoiser(SanaTransformer):
    """SANA beside whose noisy latents the degraded ones are given; constructor arguments and keys are SanaTransformer's.

    `in_channels` are those of the noisy latents alone. One key is new: `proj.weight` (c, 2c, 1, 1).

    Shapes: see `forward`. `embed` takes both latents in one tensor, (b, 2c, p h, p w), the noisy ones first.

    Raises:
        ValueError: as SanaTransformer; in `forward`, the degraded latents have another shape than the noisy ones.
    """

    __signature__ = inspect.signature(SanaTransformer)  # what `config` of a checkpoint may hold

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        channels = self.config["in_channels"]
        self.proj = nn.Conv2d(2 * channels, channels, 1, bias=False)
        with torch.no_grad():
            self.proj.weight.copy_(torch.eye(channels, 2 * channels)[..., None, None])
        self.spec = spec(**self.config)

    @classmethod
    def from_base(cls, base: SanaTransformer) -> SanaDenoiser:
        """A denoiser with a copy of a SANA's weights, which gives at first what that gives."""
        net = cls(**base.config).to(base.proj_out.weight)
        net.load_state_dict(base.state_dict() | {"proj.weight": net.proj.weight})
        return net.train(base.training)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        condition: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        guidance: Tensor | float | None = None,
    ) -> Tensor:
        """The velocity of noisy latents.

        Args:
            x: noisy latents, (b, c, h, w), any height and width.
            condition: latents of the degraded picture, (b, c, h, w).
            timestep: 1000 times the noise level in [0, 1]: a number, or (1,) or (b,).
            encoder_hidden_states: vectors of the text that names the degradation, (b or 1, m, caption_channels).
            encoder_attention_mask: which vectors count, (b or 1, m), 1 or True where they do; None for all.
            guidance: scale of guidance, for networks that are told it.

        Returns:
            (b, out_channels, h, w).
        """
        if x.shape != condition.shape:
            raise ValueError(f"condition should be shaped like x, {tuple(x.shape)}, got {tuple(condition.shape)}")
        both = torch.cat((x, condition), 1)
        return super().forward(both, encoder_hidden_states, timestep, encoder_attention_mask, guidance)

    def embed(self, x: Tensor, origin: Grid = (0, 0), whole: Grid | None = None) -> Tensor:
        channels = self.proj.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"noisy and degraded latents should be (b, {channels}, h, w), got {tuple(x.shape)}")
        return super().embed(self.proj(x), origin, whole)

    def fold_projection(self) -> SanaTransformer:
        """A SanaTransformer that takes both latents in one tensor, (b, 2c, h, w): W_patch W_proj as one convolution.

        It shares no weights with this network.
        """
        folded = SanaTransformer(**{**self.config, "in_channels": self.proj.in_channels}).to(self.proj.weight)
        state = {key: value for key, value in self.state_dict().items() if key != "proj.weight"}
        patch = state["patch_embed.proj.weight"]
        precise = torch.einsum("dcpq,ce->depq", patch.double(), self.proj.weight.detach().flatten(1).double())
        folded.load_state_dict(state | {"patch_embed.proj.weight": precise.to(patch)})
        return folded.train(self.training)


VARIANTS: dict[str, Variant] = {}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `SanaDenoiser(**config)`."""
    told = sana.spec(**config)
    beside = tuple(name for name in told.inputs if name not in ("image", "text", "time"))
    return replace(told, inputs=("image", "condition", "time", "text", *beside))


def infer_config(state_dict: StateDict) -> Inferred | None:
    """What SANA's layers tell, where the projection stands beside them."""
    state_dict = sana.rename_keys(state_dict)
    projection = state_dict.get("proj.weight")
    told = sana.infer_config({key: value for key, value in state_dict.items() if key != "proj.weight"})
    if projection is None or told is None:
        return None
    channels = told.config["in_channels"]
    if projection.shape != (channels, 2 * channels, 1, 1):
        return None
    return replace(told, cls=SanaDenoiser)
