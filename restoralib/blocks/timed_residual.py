"""Residual blocks that an embedding of time modulates, as in guided diffusion."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from restoralib.blocks.resample import HalvingDownsample, NearestUpsample


class TimedResBlock(nn.Module):
    """Norm, SiLU, convolution; then the embedding; then norm, SiLU, dropout, convolution; added to the input.

    Guided diffusion (arXiv:2105.05233), after BigGAN where it changes the size. The last convolution starts at zero, so that a
    new block without `resample` is its skip connection.

    Args:
        channels: channels in, a multiple of 32.
        emb_channels: features of the embedding.
        out_channels: channels out; None for `channels`. Where 32 does not divide them, the second norm has a group for each
            channel, as in StableSR's guidance encoder.
        dropout: in front of the last convolution.
        use_scale_shift_norm: the embedding scales and shifts the second norm's output (FiLM) instead of being added before it.
        resample: double ("up") or halve ("down") height and width, inside and along the skip connection.

    Shapes: (b, channels, h, w) and (b, emb_channels) -> (b, out_channels, h, w), or twice or half of h and w.
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int | None = None,
        dropout: float = 0.0,
        use_scale_shift_norm: bool = False,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        out_channels = out_channels or channels
        self.use_scale_shift_norm = use_scale_shift_norm
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        self.resample: nn.Module | None = None
        if resample is not None:
            self.resample = (NearestUpsample if resample == "up" else HalvingDownsample)(channels, use_conv=False)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, (1 + use_scale_shift_norm) * out_channels))
        last = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        groups = out_channels if out_channels % 32 else 32
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, out_channels), nn.SiLU(), nn.Dropout(dropout), last)
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        skip, h = self.branches(x, emb)
        return skip + h

    def branches(self, x: Tensor, emb: Tensor) -> tuple[Tensor, Tensor]:
        """What is added in the end: what comes along the skip connection, and what comes through the layers."""
        norm, activation, conv = self.in_layers
        h = activation(norm(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = conv(h)
        modulation: Tensor = self.emb_layers(emb)[..., None, None]
        norm, *rest = self.out_layers
        if self.use_scale_shift_norm:
            scale, shift = modulation.chunk(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + modulation)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(x), h


class TimedSequential(nn.Sequential):
    """Layers one after the other, of which those that are `TimedResBlock`s get the embedding of time.

    Shapes: those of its layers.
    """

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, emb) if isinstance(layer, TimedResBlock) else layer(x)
        return x
