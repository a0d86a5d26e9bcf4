"""StableSR: a photograph of low quality drawn anew, four times as large, by Stable Diffusion's prior.

Wang et al., Exploiting Diffusion Prior for Real-World Image Super-Resolution, IJCV 2024, arXiv:2305.07015. The image is
enlarged and encoded; its latent, with noise, is where a diffusion begins, at every step of which maps made from the latent
guide the U-Net; the result is decoded beside features of the image, and its colours are corrected. Latents larger than those of
the training are gone through in tiles at every step, whose predictions are averaged (progressive aggregation sampling).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs import KLAutoencoder, StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.archs.kl_autoencoder import sample_latent
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoiser, denoiser
from restoralib.diffusion.grids import training_steps
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.sampling import Callback, ancestral, ddim, sample
from restoralib.latent.coding import tiled_decode, tiled_encode
from restoralib.latent.colour import adain, wavelet_colour
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import at_least_float32
from restoralib.ops.resize import resize
from restoralib.ops.schedules import sqrt_linear_betas

Colour = Literal["adain", "wavelet"]
_LONGEST = 4  # times the shortest side up to which a small image is enlarged; the authors have no bound


@dataclass(frozen=True)
class StableSRParts:
    """The networks of StableSR, and what its U-Net predicts.

    Args:
        unet: predicts the noise of a latent.
        guidance_encoder: makes the maps that guide it.
        autoencoder: with feature wrapping, or a `KLAutoencoder` without.
        prediction: "eps" for what was made from Stable Diffusion 2.1 base (512), "v" from its 768 model.

    Raises:
        ValueError: latents or maps of one part are not those of another.
    """

    unet: StableSRUNet
    guidance_encoder: StableSRGuidanceEncoder
    autoencoder: StableSRAutoencoder | KLAutoencoder
    prediction: Literal["eps", "v"] = "eps"

    def __post_init__(self) -> None:
        channels = self.autoencoder.channels, self.unet.spec.in_channels, self.guidance_encoder.spec.in_channels
        if len(set(channels)) > 1:
            raise ValueError(
                "autoencoder, unet and guidance_encoder should share the channels of latents, got "
                f"{channels[0]}, {channels[1]} and {channels[2]}"
            )
        maps = self.guidance_encoder.spec.out_channels, self.unet.spec.map_channels
        if maps[0] != maps[1]:
            raise ValueError(f"the guidance encoder gives maps of {maps[0]} channels, the unet takes {maps[1]}")
        if self.prediction not in ("eps", "v"):
            raise ValueError(f"prediction should be 'eps' or 'v', got {self.prediction!r}")


def stablesr_process() -> DDPM:
    """The diffusion of Stable Diffusion: 1000 steps, linear in the roots of beta from 0.00085 to 0.0120.

    A sampler that leaves steps out has the right beta between any two by itself, and keeps the original times, which both
    networks are told.
    """
    return DDPM(sqrt_linear_betas(1000, 0.00085, 0.0120))


def stablesr_times(steps: int = 200) -> list[int]:
    """The times by which StableSR goes from the noise to the image: evenly from 999 to 0, and -1 for the clean latent.

    Raises:
        ValueError: there are not 1 to 1000 steps.
    """
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise ValueError(f"steps should be a whole number from 1 to 1000, got {steps!r}")
    times = training_steps(1000, steps)
    return [999, -1] if steps == 1 else [*times, -1]


def gaussian_tile_weights(tile_width: int, tile_height: int, var: float = 0.01, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights of a tile's samples: a bell in the middle of the tile, for the average of overlapping tiles.

    The product of exp(-(x - m)^2 / (2 var tile^2)) / sqrt(2 pi var) of both axes. As the authors have it, m is the middle,
    (tile - 1) / 2, across, but tile / 2 down: the table is not symmetric top to bottom.

    Args:
        tile_width: samples across.
        tile_height: samples down.
        var: variance of the bell for a tile of side 1.
        dtype: of the weights.

    Returns:
        (tile_height, tile_width).

    Raises:
        ValueError: a side or the variance is not positive.
    """
    if min(tile_width, tile_height) < 1 or not var > 0:
        raise ValueError(f"a tile and its variance should be positive, got {tile_height}x{tile_width} and {var}")

    def bell(length: int, middle: float) -> Tensor:
        distance = (torch.arange(length, dtype=torch.float64) - middle) / length
        return (-(distance**2) / (2 * var)).exp() / math.sqrt(2 * math.pi * var)

    return (bell(tile_height, tile_height / 2)[:, None] * bell(tile_width, (tile_width - 1) / 2)).to(dtype)


def tile_offsets(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of an axis begin: every tile - overlap samples, the last moved back to end with the axis.

    Raises:
        ValueError: the axis is shorter than a tile, or a tile not larger than its overlap.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"a tile should be larger than its overlap, got {tile} and {overlap}")
    if length < tile:
        raise ValueError(f"tiles of {tile} do not fit into {length} samples; pad them first, or take smaller tiles")
    count = -(-(length - tile) // (tile - overlap)) + 1
    return [min(index * (tile - overlap), length - tile) for index in range(count)]


def aggregate_tiles(
    predict: Callable[[Tensor, slice, slice], Tensor], x: Tensor, tile_size: int, tile_overlap: int, var: float = 0.01
) -> Tensor:
    """The weighted mean of what is predicted for overlapping tiles.

    Args:
        predict: gives a prediction of a tile's size for a tile, its rows and its columns.
        x: (b, c, h, w), sides at least those of a tile.
        tile_size: side of a tile.
        tile_overlap: samples that neighbours share.
        var: of `gaussian_tile_weights`.

    Returns:
        Like x.

    Raises:
        ValueError: as for `tile_offsets`.
    """
    tops, lefts = (tile_offsets(length, tile_size, tile_overlap) for length in x.shape[-2:])
    weight = gaussian_tile_weights(tile_size, tile_size, var, x.dtype).to(x.device)
    total, weights = torch.zeros_like(x), x.new_zeros(x.shape[-2:])
    for top in tops:
        for left in lefts:
            rows, columns = slice(top, top + tile_size), slice(left, left + tile_size)
            total[..., rows, columns] += predict(x[..., rows, columns], rows, columns).to(x) * weight
            weights[rows, columns] += weight
    return total / weights


def stablesr_denoiser(
    parts: StableSRParts,
    guide: Tensor,
    context: Tensor,
    *,
    negative: Tensor | None = None,
    guidance: float = 7.0,
    tile: int | None = 64,
    overlap: int = 32,
) -> Denoiser:
    """StableSR's U-Net as a denoiser of latents, for samplers with `stablesr_process`.

    Args:
        parts: the networks; tiles go to where they are.
        guide: the latent of the degraded image, scaled, (b, c, h, w).
        context: vectors of the prompt, (b or 1, m, d): those of the empty prompt, for a model trained with it.
        negative: vectors of what is not wanted, for which the U-Net is asked, too; None for nothing.
        guidance: how far to go from the one to the other: negative + guidance (context - negative).
        tile: side of tiles in latents; None for all at once. Each tile is guided by its own part of the latent alone.
        overlap: latents that tiles share.
    """
    like = next(parts.unet.parameters())
    context = context.to(like)
    negative = None if negative is None else negative.to(like)

    def predict(x: Tensor, t: Tensor, rows: slice, columns: slice) -> Tensor:
        latent = x.to(like)
        time = t.to(like.device)
        maps = parts.guidance_encoder(guide[..., rows, columns].to(like), time)
        wanted: Tensor = parts.unet(latent, time, context, maps)
        if negative is not None:
            unwanted: Tensor = parts.unet(latent, time, negative, maps)
            wanted = unwanted + guidance * (wanted - unwanted)
        return wanted.to(x)

    def network(x: Tensor, t: Tensor) -> Tensor:
        if tile is None or max(x.shape[-2:]) <= tile:
            return predict(x, t, slice(None), slice(None))
        return aggregate_tiles(lambda part, rows, columns: predict(part, t, rows, columns), x, tile, overlap)

    return denoiser(network, stablesr_process(), parts.prediction)


@torch.no_grad()
def stablesr(
    image: Tensor,
    parts: StableSRParts,
    context: Tensor,
    *,
    scale: float = 4,
    steps: int = 200,
    sampler: Literal["ancestral", "ddim"] = "ancestral",
    eta: float = 0.0,
    negative: Tensor | None = None,
    guidance: float = 7.0,
    w: float = 0.5,
    colour: Colour | None = "adain",
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    posterior: bool = True,
    tile: int | None = 64,
    overlap: int = 32,
    smallest: int = 512,
    autoencoder_tile: int | None = 160,
    autoencoder_overlap: int = 35,
    callback: Callback | None = None,
) -> Tensor:
    """Restore a photograph of low quality, and enlarge it.

    The image is enlarged by bicubic interpolation, until its shorter side has `smallest` pixels at least (but not so far that
    its longer side has more than four times that, where the scale does not ask for it), and is padded by reflection to the size
    of a tile and to multiples of 4 latents. What was enlarged too much is reduced in the end. The whole latent and the whole
    image are kept in memory; the networks see one tile at a time.

    Args:
        image: (b, 3, h, w) in [0, 1], RGB; what lies outside is clipped, with a warning.
        parts: the networks.
        context: vectors of the prompt by the text encoder that the U-Net was trained with (OpenCLIP ViT-H/14 for Stable
            Diffusion 2), (b or 1, m, d). StableSR was trained with the empty prompt, whose vectors have to be brought.
        scale: of the result.
        steps: of the diffusion, 1 to 1000.
        sampler: "ancestral", DDPM's; or "ddim".
        eta: of DDIM: 0 adds no noise, 1 as much as ancestral sampling.
        negative: vectors of a negative prompt; None for none, which takes half the time.
        guidance: how far from the negative prompt to go.
        w: weight of the image's own features in the decoder, from 0 (better looking) to 1 (nearer to the image).
        colour: how colours are corrected by those of the enlarged image: "adain" (the paper's), "wavelet", which corrects them
            locally, or None.
        noise: a generator, a source, or draws in order: of the latent where `posterior`, of the beginning, of every step that
            draws.
        posterior: draw the image's latent from what the encoder tells, as the authors do; False for its mean.
        tile: side of the U-Net's tiles in latents, 64 or for the 768 model 96; None for all at once.
        overlap: latents that they share, 32 or 48.
        smallest: what the shorter side is enlarged to at least, in pixels; 768 for the 768 model.
        autoencoder_tile: side of the autoencoder's tiles in latents; None for all at once. Its attention and norms see a tile.
        autoencoder_overlap: latents that they share.
        callback: called after each step, as by `restoralib.diffusion.sample`.

    Returns:
        (b, 3, round(scale h), round(scale w)) in [0, 1], of the image's type.

    Raises:
        ValueError: the image is none of three channels or not finite, or an argument is none of these.
    """
    _check(image, parts, scale, sampler, colour, w, smallest)
    lowest, highest = (float(value) for value in torch.aminmax(image))
    if lowest < 0 or highest > 1:
        warnings.warn(
            f"the image has values from {lowest:g} to {highest:g}, and what lies outside 0 to 1 is clipped; divide one of "
            "8 bits by 255",
            stacklevel=3,
        )
        image = image.clamp(0, 1)
    autoencoder, process, draw = parts.autoencoder, stablesr_process(), noise_source(noise)
    height, width = image.shape[-2:]
    like = next(parts.unet.parameters())
    enlarged = 2 * _enlarge(image.to(at_least_float32(like.dtype)), scale, smallest).clamp(0, 1) - 1
    padded = _pad(enlarged, autoencoder.factor, tile)

    coder, sizes = _Coder(autoencoder, w), {"tile": autoencoder_tile, "overlap": autoencoder_overlap}
    moments = tiled_encode(coder, padded, **sizes).to(padded)  # type: ignore[arg-type]
    mean = moments.chunk(2, dim=1)[0]
    guide = autoencoder.scaling_factor * (sample_latent(moments, draw(mean)) if posterior else mean)

    times = stablesr_times(steps)
    step = ancestral(process) if sampler == "ancestral" else ddim(process, eta=eta)
    denoise = stablesr_denoiser(parts, guide, context, negative=negative, guidance=guidance, tile=tile, overlap=overlap)
    start = process.marginal(guide, times[0], draw(guide))
    latent = sample(denoise, start, times, step, noise=draw, callback=callback) / autoencoder.scaling_factor

    restored = tiled_decode(coder, coder.beside(latent, padded), **sizes)  # type: ignore[arg-type]
    restored = restored.to(enlarged)[..., : enlarged.shape[-2], : enlarged.shape[-1]]
    if colour is not None:
        restored = (adain if colour == "adain" else wavelet_colour)(restored, enlarged)
    restored = (restored.clamp(-1, 1) + 1) / 2
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    if restored.shape[-2:] != size:
        restored = resize(restored, size=size).clamp(0, 1)
    return restored.to(image.dtype)


class _Coder(nn.Module):
    """The autoencoder as tiles of an image and of a latent see it.

    It encodes to moments, and decodes latents behind which the degraded image lies, its pixels as channels: so a tile brings
    its part of the image along.
    """

    def __init__(self, autoencoder: StableSRAutoencoder | KLAutoencoder, w: float) -> None:
        super().__init__()
        self.autoencoder, self.w = autoencoder, w
        self.factor = autoencoder.factor
        self.channels = autoencoder.channels + (autoencoder.spec.in_channels * self.factor**2 if w else 0)

    def encode(self, image: Tensor) -> Tensor:
        return self.autoencoder.moments(image.to(next(self.parameters()).dtype))

    def beside(self, latent: Tensor, image: Tensor) -> Tensor:
        """What `decode` takes."""
        return torch.cat((latent, F.pixel_unshuffle(image, self.factor)), 1) if self.w else latent

    def decode(self, latent: Tensor) -> Tensor:
        latent, image = latent.to(next(self.parameters()).dtype).tensor_split([self.autoencoder.channels], 1)
        if not self.w:
            return self.autoencoder.decode(latent)
        assert isinstance(self.autoencoder, StableSRAutoencoder)
        return self.autoencoder.decode(latent, F.pixel_shuffle(image, self.factor), self.w)


def _enlarge(image: Tensor, scale: float, smallest: int) -> Tensor:
    """By the scale, or further where the result would be smaller than a diffusion is used to."""
    sides = image.shape[-2:]
    factor = max(scale, min(smallest / min(sides), _LONGEST * smallest / max(sides)))
    size = (max(1, round(factor * sides[0])), max(1, round(factor * sides[1])))
    return image if size == tuple(sides) else resize(image, size=size)


def _pad(image: Tensor, factor: int, tile: int | None) -> Tensor:
    """To multiples of four latents, and to a tile at least."""
    least = factor * (tile or 0)
    height, width = (least if side < least else 4 * factor for side in image.shape[-2:])
    return pad_to_multiple(image, (height, width))


def _check(
    image: Tensor, parts: StableSRParts, scale: float, sampler: str, colour: str | None, w: float, smallest: int
) -> None:
    if image.ndim != 4 or image.shape[1] != parts.autoencoder.spec.in_channels or not image.is_floating_point():
        raise ValueError(
            f"stablesr expects RGB images (b, {parts.autoencoder.spec.in_channels}, h, w) in [0, 1], got {image.dtype} of "
            f"shape {tuple(image.shape)}; repeat the channel of a grey one: image.expand(-1, 3, -1, -1)"
        )
    if not image.isfinite().all():
        raise ValueError("the image has NaN or infinity; repair it before")
    if 0 in image.shape:
        raise ValueError(f"the image is empty: {tuple(image.shape)}")
    if not (scale > 0 and math.isfinite(scale)) or smallest < 1:
        raise ValueError(f"scale and smallest should be positive, got {scale} and {smallest}")
    if sampler not in ("ancestral", "ddim"):
        raise ValueError(f"unknown sampler {sampler!r}; choose 'ancestral' or 'ddim'")
    if colour not in (None, "adain", "wavelet"):
        raise ValueError(f"unknown colour correction {colour!r}; choose 'adain', 'wavelet' or None")
    if not math.isfinite(w):
        raise ValueError(f"w should be a number from 0 to 1, got {w}")
    if w and not isinstance(parts.autoencoder, StableSRAutoencoder):
        raise ValueError(f"a {type(parts.autoencoder).__name__} has no feature wrapping for w={w}; pass w=0")
