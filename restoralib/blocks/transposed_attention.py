"""Transformer layers that attend between channels: their cost grows with the pixels, not with the pixels' square.

Restormer's (Zamir et al., CVPR 2022, arXiv:2111.09881), and DiffIR's, which a prior vector modulates (Xia et al., ICCV 2023,
arXiv:2303.09472). Keys are those of the authors' checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from restoralib.blocks.norm import RESTORMER_NORMS, WithBiasLayerNorm
from restoralib.blocks.reduction import ChannelGram

_EPS = 1e-12  # queries and keys of a smaller norm over the image are divided by this


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention: every channel becomes a mixture of the channels of its head.

    What a channel takes of another depends on the cosine similarity, over all pixels, of its query and the other's key
    (Restormer, eq. 1). The similarities come from the submodule `gram`; the rest looks no further than a 3x3 convolution.

    Args:
        channels: channels in and out.
        heads: groups of channels that attend among themselves; divides `channels`.
        bias: whether the convolutions have biases.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        _check_heads(channels, heads)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)
        self.gram = ChannelGram(heads)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv_dwconv(self.qkv(x))
        return self.project_out(_attend(qkv, self.temperature, self.gram))


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network: one half of a depthwise convolution, through GELU, weighs the other (Restormer, eq. 2).

    Args:
        channels: channels in and out.
        factor: width of each half as a multiple of `channels`, rounded down.
        bias: whether the convolutions have biases.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: `factor` leaves no channel.
    """

    def __init__(self, channels: int, factor: float = 2.66, bias: bool = False) -> None:
        super().__init__()
        hidden = int(channels * factor)
        if hidden < 1:
            raise ValueError(f"the feed-forward should be a channel wide or more, got {factor} times {channels}")
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class RestormerBlock(nn.Module):
    """MDTA and GDFN, each behind a layer norm and added to its input: the transformer block of Restormer (Fig. 2) and PromptIR.

    Args:
        channels: channels in and out.
        heads: groups of channels that attend among themselves; divides `channels`.
        factor: width of the feed-forward as a multiple of `channels`, rounded down.
        bias: whether the convolutions have biases.
        norm: makes a layer norm for so many channels.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: `heads` does not divide `channels`, or `factor` leaves no channel.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        factor: float = 2.66,
        bias: bool = False,
        norm: type[nn.Module] = WithBiasLayerNorm,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = MDTA(channels, heads, bias)
        self.norm2 = norm(channels)
        self.ffn = GDFN(channels, factor, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


def check_restormer_levels(
    dim: int, num_blocks: Sequence[int], num_refinement_blocks: int, heads: Sequence[int], LayerNorm_type: str
) -> type[nn.Module]:
    """The norm's class for arguments that Restormer and its descendants share.

    Raises:
        ValueError: they make no U-Net of four levels.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim should be even, got {dim}; its halves are shuffled into the next level")
    if len(num_blocks) != 4 or len(heads) != 4 or min(num_blocks) < 1:
        raise ValueError(f"num_blocks and heads should be four positive numbers each, got {num_blocks} and {heads}")
    if num_refinement_blocks < 0:
        raise ValueError(f"num_refinement_blocks should be at least 0, got {num_refinement_blocks}")
    if LayerNorm_type not in RESTORMER_NORMS:
        raise ValueError(f"LayerNorm_type should be one of {', '.join(RESTORMER_NORMS)}, got {LayerNorm_type!r}")
    return RESTORMER_NORMS[LayerNorm_type]


def infer_gdfn_factor(shapes: set[torch.Size]) -> float | None:
    """The `factor` of GDFNs whose last convolutions have weights of these shapes; None where no one number gives them all.

    Weights keep only the rounded widths: it is 2.66, Restormer's, or else the shortest decimal that gives them.
    """
    if not all(len(shape) == 4 and shape[0] for shape in shapes):
        return None
    least = max((hidden / width for width, hidden, *_ in shapes), default=0.0)
    rounded_up = (math.ceil(least * 10**digits) / 10**digits for digits in range(8))
    return next((f for f in (2.66, *rounded_up) if all(int(w * f) == hidden for w, hidden, *_ in shapes)), None)


class DMTA(nn.Module):
    """Dynamic multi-head transposed attention: MDTA of features that a prior vector scales and shifts (DiffIR, eq. 4 and 5).

    The scale multiplies as it is, there is no "1 +" on it. In a DIRformer block a layer norm stands before.

    Args:
        channels: channels in and out.
        heads: groups of channels that attend among themselves; divides `channels`.
        bias: whether the convolutions have biases.
        prior_features: length of the prior vector.

    Shapes: features (b, c, h, w) and prior (b, d) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, bias: bool = False, prior_features: int = 256) -> None:
        super().__init__()
        _check_heads(channels, heads)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.kernel = nn.Sequential(nn.Linear(prior_features, 2 * channels, bias=False))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)
        self.gram = ChannelGram(heads)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        qkv = self.qkv_dwconv(self.qkv(_modulate(x, self.kernel(prior))))
        return self.project_out(_attend(qkv, self.temperature, self.gram))


class DGFN(GDFN):
    """Dynamic gated feed-forward network: GDFN of features that a prior vector scales and shifts, as in DMTA (DiffIR, eq. 6).

    Args:
        channels: channels in and out.
        factor: width of each half as a multiple of `channels`, rounded down.
        bias: whether the convolutions have biases.
        prior_features: length of the prior vector.

    Shapes: features (b, c, h, w) and prior (b, d) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: `factor` leaves no channel.
    """

    def __init__(self, channels: int, factor: float = 2.66, bias: bool = False, prior_features: int = 256) -> None:
        super().__init__(channels, factor, bias)
        self.kernel = nn.Sequential(nn.Linear(prior_features, 2 * channels, bias=False))

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(_modulate(x, self.kernel(prior)))


def _check_heads(channels: int, heads: int) -> None:
    if heads < 1 or channels % heads:
        raise ValueError(f"{heads} heads do not divide {channels} channels; choose a divisor")


def _attend(qkv: Tensor, temperature: Tensor, gram: nn.Module) -> Tensor:
    """Mix the last third of the channels, the values, by the cosine similarities of the first two.

    The division by the norms comes after the product, unlike in the paper, so that `gram` may gather an image part by part.
    """
    channels, height, width = qkv.shape[1] // 3, *qkv.shape[2:]
    qk, v = qkv[:, : 2 * channels], qkv[:, 2 * channels :]
    moments = gram(qk)
    floor = _EPS**2 / (height * width)  # of the mean squares, not of their roots, whose gradient at zero is infinite
    q_scale, k_scale = moments[..., -2:].clamp_min(floor).rsqrt().chunk(2, dim=-1)
    cosines = moments[..., :-2] * q_scale * k_scale.mT
    weights = (cosines * temperature).softmax(-1).to(v.dtype)
    mixed = weights @ rearrange(v, "b (heads c) h w -> b heads c (h w)", heads=len(temperature))
    return rearrange(mixed, "b heads c (h w) -> b (heads c) h w", h=height)


def _modulate(x: Tensor, kernel: Tensor) -> Tensor:
    scale, shift = kernel[:, :, None, None].chunk(2, dim=1)
    return x * scale + shift
