"""A whole restorer in latents: encode the degraded image, sample clean latents beside its latents, decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restoralib.archs.sana_denoiser import SanaDenoiser
from restoralib.archs.spec import NetSpec
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.flow import Flow
from restoralib.diffusion.grids import even, shifted
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.sampling import ddim, sample
from restoralib.latent.coding import tiled_decode, tiled_encode
from restoralib.latent.overlap import overlap_denoiser, whole_denoiser
from restoralib.latent.temporal_tiling import exact_denoiser, patch_of, temporal_denoiser
from restoralib.ops.pad import pad_to_multiple

Tiling = Literal["temporal", "overlap", "exact"]
TILINGS = ("temporal", "overlap", "exact")
Progress = Callable[[int, int, str], Any]


def degradation_text(name: str) -> Tensor:
    """The text of a denoiser that was trained without an encoder of texts: one vector with a 1 at the degradation's place.

    The first layer of such a network's `caption_projection` is then a table of learned embeddings.

    Args:
        name: one of the nine of `restoralib.blocks.degradation_prompt.DEGRADATIONS`.

    Returns:
        (1, 1, 9).

    Raises:
        ValueError: there is no such degradation.
    """
    if name not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {name!r}; choose one of {', '.join(DEGRADATIONS)}")
    return torch.eye(len(DEGRADATIONS))[None, None, DEGRADATIONS.index(name)]


class LatentRestorer(nn.Module):
    """An autoencoder and a flow in its latents that is given the latents of the degraded image.

    The flow is sampled by Euler's method from noise to clean latents, with one state and one noise for the whole image. Large
    images go through both networks in tiles. One step gives the mean of what is possible, the best in PSNR where the network
    was trained for it; more steps give more detail.

    Args:
        autoencoder: a DCAE or another with `encode`, `decode`, `factor`, `channels` and `scaling_factor`.
        denoiser: a SanaDenoiser, or one in its folded form.
        text: vectors of the text that names the degradation, (1, m, d); see `degradation_text`.
        steps: of the flow.
        shift: moves its times towards the noise.
        tiling: how latents larger than a tile are denoised: "temporal", a tile sees those before it; "overlap", tiles are
            averaged at every step; "exact", all see all; None, in one piece.
        tile: side of a tile in pixels, a multiple of a token's.
        overlap: pixels that neighbours share.
        least: smaller sides are extended to this before, for networks that were trained on larger images.

    Shapes: see `forward`.

    Raises:
        ValueError: the networks do not fit each other, or an argument is none of these.
    """

    autoencoder: Any
    denoiser: Any
    text: Tensor
    token: int
    """Side of a token in pixels."""

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        text: Tensor,
        *,
        steps: int = 20,
        shift: float = 3.0,
        tiling: Tiling | None = "temporal",
        tile: int = 1024,
        overlap: int = 128,
        least: int = 0,
    ) -> None:
        super().__init__()
        if tiling is not None and tiling not in TILINGS:
            raise ValueError(f"unknown tiling {tiling!r}; choose one of {', '.join(TILINGS)} or None")
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.register_buffer("text", text, persistent=False)
        self.steps = steps
        self.shift = shift
        self.tiling = tiling
        self.tile = tile
        self.overlap = overlap
        self.least = least
        self.token = self.autoencoder.factor * patch_of(denoiser)
        channels = self.autoencoder.channels
        needs: NetSpec = self.denoiser.spec
        given, made = needs.in_channels * (1 + isinstance(denoiser, SanaDenoiser)), needs.out_channels
        if (given, made) != (2 * channels, channels):
            raise ValueError(
                f"the autoencoder has latents of {channels} channels; a denoiser for them takes them beside those of the "
                f"degraded image, {2 * channels} in all, and gives as many as one, got one that takes {given} and gives {made}"
            )
        if text.ndim != 3 or len(text) != 1 or text.shape[2] != needs.text_channels:
            raise ValueError(f"the text should be (1, m, {needs.text_channels}) for this denoiser, got {tuple(text.shape)}")
        self.times(steps)
        self._sides(tile, overlap)
        self.spec = NetSpec(multiple=self.token, halo=None, global_ops=("linear attention",))

    def times(self, steps: int | None = None) -> list[float]:
        """The times that are visited, from 1 to 0."""
        steps = self.steps if steps is None else steps
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"steps should be at least 1 and whole, got {steps!r}")
        times: list[float] = shifted(even(steps), self.shift).tolist()
        return times

    def forward(
        self,
        image: Tensor,
        *,
        noise: Noise | torch.Generator | Iterable[Tensor] | Tensor | None = None,
        steps: int | None = None,
        tile: int | tuple[int, int] | None = None,
        overlap: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Restore images.

        Args:
            image: (b, 3, h, w) in [0, 1], any height and width.
            noise: where the first state comes from: a generator, a tensor like the latents, or None for torch's own generator.
            steps: in place of the restorer's.
            tile: side, or (height, width), in place of the restorer's.
            overlap: in place of the restorer's.
            progress: called with (done, total, stage) after each evaluation of a network on the whole image.

        Returns:
            (b, 3, h, w), not clamped.

        Raises:
            ValueError: an argument does not fit.
        """
        height, width = image.shape[-2:]
        times = self.times(steps)
        sides, shared = self._sides(self.tile if tile is None else tile, self.overlap if overlap is None else overlap)
        done, total = 0, len(times) + 1

        def advance(stage: str) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total, stage)

        condition = self._encode(image, sides, shared) * self.autoencoder.scaling_factor
        advance("encode")
        state = noise_source([noise] if isinstance(noise, Tensor) else noise)(condition)
        inner = self._denoiser(condition, sides, shared)

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            denoised = inner(x, t)
            advance("sample")
            return denoised

        latents = sample(denoise, state, times, ddim(Flow()))
        restored = self._decode(latents / self.autoencoder.scaling_factor, sides, shared)
        advance("decode")
        return restored[..., :height, :width]

    def reconstruct(self, image: Tensor, *, tile: int | tuple[int, int] | None = None, overlap: int | None = None) -> Tensor:
        """Images through the autoencoder alone, which is what their restoration is to be compared with."""
        sides, shared = self._sides(self.tile if tile is None else tile, self.overlap if overlap is None else overlap)
        latents = self._encode(image, sides, shared)
        return self._decode(latents, sides, shared)[..., : image.shape[-2], : image.shape[-1]]

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the latent of an image, and so of the noise."""
        down, across = self._multiples(height, width)
        factor = self.autoencoder.factor
        return -(-height // down) * down // factor, -(-width // across) * across // factor

    def _multiples(self, height: int, width: int) -> tuple[int, int]:
        """Of what the sides become multiples."""
        smallest = -(-max(self.least, self.token) // self.token) * self.token
        return tuple(smallest if side < smallest else self.token for side in (height, width))  # type: ignore[return-value]

    def calls(self, steps: int | None = None) -> int:
        """How often `progress` is called."""
        return len(self.times(steps)) + 1

    def _sides(self, tile: int | tuple[int, int], overlap: int) -> tuple[tuple[int, int], int]:
        """Tile and overlap in latents."""
        sides = (tile, tile) if isinstance(tile, int) else tile
        for name, value, least in (("tile", sides[0], self.token), ("tile", sides[1], self.token), ("overlap", overlap, 0)):
            if value < least or value % self.token:
                raise ValueError(
                    f"{name} should be a multiple of {self.token} pixels, which are one token, of {least} at least, got {value}"
                )
        if overlap >= min(sides):
            raise ValueError(f"tiles should be larger than their overlap of {overlap} pixels, got {sides[0]}x{sides[1]}")
        factor = self.autoencoder.factor
        return (sides[0] // factor, sides[1] // factor), overlap // factor

    def _encode(self, image: Tensor, sides: tuple[int, int], shared: int) -> Tensor:
        padded = pad_to_multiple(image, self._multiples(*image.shape[-2:]))
        return tiled_encode(self.autoencoder, 2 * padded - 1, tile=sides, overlap=shared)

    def _decode(self, latents: Tensor, sides: tuple[int, int], shared: int) -> Tensor:
        return (tiled_decode(self.autoencoder, latents, tile=sides, overlap=shared) + 1) / 2

    def _denoiser(self, condition: Tensor, sides: tuple[int, int], shared: int) -> Denoiser:
        """What the network says of the whole state, tile by tile as asked."""
        net, text = self.denoiser, self.text.to(condition)
        whole = condition.shape[-2] <= sides[0] and condition.shape[-1] <= sides[1]
        if whole or self.tiling is None:
            return whole_denoiser(net, text, condition=condition)
        if self.tiling == "temporal":
            return temporal_denoiser(net, text, sides, shared, condition=condition)
        if self.tiling == "exact":
            return exact_denoiser(net, text, sides, condition=condition)
        return overlap_denoiser(net, text, sides, shared, condition=condition)
