"""DiffIR: deblurring and real-world super-resolution by a transformer that a vector modulates, which diffusion estimates.

Xia et al., DiffIR: Efficient Diffusion Model for Image Restoration, ICCV 2023, arXiv:2303.09472. In stage 1 an encoder (CPEN)
sees the degraded and the clean image and makes the prior, a vector of 256 numbers (the paper's IPR), which scales and shifts
the features of a transformer like Restormer (DIRformer). In stage 2 a diffusion model of four steps makes the prior from the
degraded image alone. The authors' checkpoints for motion deblurring (`variant="deblur"`) and for super-resolution
(`variant="sr"`) load unchanged, of both stages; their inpainting network is another one. Images are RGB in [0, 1] of any size:
they are padded inside by reflection at the right and at the bottom to multiples of 8, or, for super-resolution by 2 and by 1,
of 16 and 32.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.named import named
from restoralib.blocks.reduction import GlobalMean
from restoralib.blocks.transposed_attention import DGFN, DMTA, check_restormer_levels, infer_gdfn_factor
from restoralib.blocks.upsample import PixelShuffleDirect, PixelShuffleUpsample, PixelUnshuffleDownsample
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.schedules import sqrt_linear_betas

_FEATURES = 64  # of CPEN's first layers
_PRIOR = 4 * _FEATURES
_SHRINK = 4  # by which CPEN unshuffles the clean image, and the degraded one to the same size
_SLOPE = 0.1  # of the leaky ReLUs


class DIRBlock(nn.Module):
    """DMTA and DGFN, each behind a layer norm and added to its input.

    Shapes: features (b, c, h, w) and prior (b, 256) -> (b, c, h, w), any height and width.
    """

    def __init__(self, channels: int, heads: int, factor: float, bias: bool, norm: type[nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = DMTA(channels, heads, bias, _PRIOR)
        self.norm2 = norm(channels)
        self.ffn = DGFN(channels, factor, bias, _PRIOR)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), prior)
        return x + self.ffn(self.norm2(x), prior)


class DIRformer(nn.Module):
    """Restormer's U-Net of DIRBlocks.

    For super-resolution the image is unshuffled first, so that enlarging by four behind the last block gives every scale; the
    result is then added to the image enlarged by repeating its pixels.

    Args:
        scale: output pixels for each input pixel; None for deblurring.

    Shapes: image (b, c, h, w) and prior (b, 256) -> (b, c, s h, s w); height and width are multiples of the network's.
    """

    def __init__(
        self,
        inp_channels: int,
        out_channels: int,
        dim: int,
        num_blocks: Sequence[int],
        num_refinement_blocks: int,
        heads: Sequence[int],
        factor: float,
        bias: bool,
        norm: type[nn.Module],
        scale: int | None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = 1 if scale is None else 4 // scale

        def blocks(width: int, depth: int, heads: int) -> nn.ModuleList:
            return nn.ModuleList(DIRBlock(width, heads, factor, bias, norm) for _ in range(depth))

        self.patch_embed = named("proj", nn.Conv2d(self.unshuffle**2 * inp_channels, dim, 3, padding=1, bias=False))
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
        if scale is None:
            self.output = nn.Conv2d(width, out_channels, 3, padding=1, bias=bias)
        else:
            self.tail = nn.Sequential(PixelShuffleUpsample(width, 4), nn.Conv2d(width, out_channels, 3, padding=1))

    def forward(self, image: Tensor, prior: Tensor) -> Tensor:
        x = self.patch_embed(_unshuffle(image, self.unshuffle))
        skips = []
        for level in (1, 2, 3):
            x = self._run(f"encoder_level{level}", x, prior)
            skips.append(x)
            x = self.get_submodule(f"down{level}_{level + 1}")(x)
        x = self._run("latent", x, prior)
        for level in (3, 2, 1):
            x = torch.cat((self.get_submodule(f"up{level + 1}_{level}")(x), skips.pop()), dim=1)
            if level > 1:
                x = self.get_submodule(f"reduce_chan_level{level}")(x)
            x = self._run(f"decoder_level{level}", x, prior)
        x = self._run("refinement", x, prior)
        if self.scale is None:
            return self.output(x) + image
        return self.tail(x) + F.interpolate(image, scale_factor=self.scale)

    def _run(self, level: str, x: Tensor, prior: Tensor) -> Tensor:
        for block in self.get_submodule(level).children():
            x = block(x, prior)
        return x


class CPEN(nn.Module):
    """Compact prior extraction network: convolutions without strides, their mean over the image, and two linear layers.

    Args:
        channels: of its input, the unshuffled images side by side.
        n_encoder_res: residual blocks.

    Shapes: (b, channels, h, w) -> (b, 256).
    """

    def __init__(self, channels: int, n_encoder_res: int) -> None:
        super().__init__()
        if n_encoder_res < 0:
            raise ValueError(f"n_encoder_res should be at least 0, got {n_encoder_res}")
        widths = (_FEATURES, 2 * _FEATURES, 2 * _FEATURES, _PRIOR)
        layers: list[nn.Module] = [nn.Conv2d(channels, _FEATURES, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        layers += [_LeakyResidualBlock() for _ in range(n_encoder_res)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        self.E = nn.Sequential(*layers, GlobalMean())
        linear = [layer for _ in range(2) for layer in (nn.Linear(_PRIOR, _PRIOR), nn.LeakyReLU(_SLOPE))]
        self.mlp = nn.Sequential(*linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.E(x).flatten(1))


class _LeakyResidualBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second = (nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1) for _ in range(2))
        self.body = nn.Sequential(first, nn.LeakyReLU(_SLOPE), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PriorDenoiser(nn.Module):
    """Predicts the clean prior from a noisy one, the time and what CPEN says of the degraded image.

    Args:
        n_denoise_res: layers behind the first; they are not residual, in spite of the keys' names.
        timesteps: of the diffusion process.

    Shapes: noisy prior (b, 256), time, condition (b, 256) -> (b, 256).
    """

    def __init__(self, n_denoise_res: int, timesteps: int) -> None:
        super().__init__()
        if n_denoise_res < 0:
            raise ValueError(f"n_denoise_res should be at least 0, got {n_denoise_res}")
        first = [nn.Linear(2 * _PRIOR + 1, _PRIOR), nn.LeakyReLU(_SLOPE)]
        later = (nn.Sequential(nn.Linear(_PRIOR, _PRIOR), nn.LeakyReLU(_SLOPE)) for _ in range(n_denoise_res))
        self.resmlp = nn.Sequential(*first, *(named("resmlp", layer) for layer in later))
        self.period = 10 * timesteps

    def forward(self, x: Tensor, time: int, condition: Tensor) -> Tensor:
        times = x.new_full((len(x), 1), time / self.period)
        return self.resmlp(torch.cat((condition, times, x), dim=1))


def reverse_chain(
    predict: Callable[[Tensor, int], Tensor], x: Tensor, clean_weights: Tensor, noisy_weights: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """DiffIR's way from a noisy prior back to a clean one: every step goes to the mean of what the predicted clean one allows.

    No noise is added. The paper (alg. 2) writes the step for a predicted noise; the authors' code, and this, predict the clean
    prior itself.

    Args:
        predict: maps (x, time) to the clean prior.
        x: noisy prior at the last time, (b, d).
        clean_weights: weights of the clean prior in the mean for each time, (steps,); 1 at time 0.
        noisy_weights: those of x; 0 at time 0.

    Returns:
        For each time from the last to 0, the clean prior that is predicted and the one that goes on to the next step.
    """
    trajectory = []
    for time in reversed(range(len(clean_weights))):
        clean = predict(x, time)
        x = clean_weights[time] * clean + noisy_weights[time] * x
        trajectory.append((clean, x))
    return trajectory


class Trajectory(NamedTuple):
    """What happens in the diffusion of one batch of priors.

    Args:
        condition: what CPEN says of the degraded images, (b, 256).
        steps: as `reverse_chain` gives them; the last prior of all modulates the DIRformer.
    """

    condition: Tensor
    steps: list[tuple[Tensor, Tensor]]


class PriorDiffusion(nn.Module):
    """The diffusion model of stage 2, from the degraded image to the prior, with all that happens between.

    Args:
        model: predicts the clean prior.
        condition: makes the condition of the unshuffled image.
        unshuffle: by how much it is unshuffled.
        multiple: to multiples of this the image is padded.
        timesteps: of the process.
        linear_start: variance of the noise at the first time.
        linear_end: at the last.

    Shapes: image (b, c, h, w), noise and prior (b, 256) or (1, 256) -> Trajectory.

    Raises:
        ValueError: noise or prior have another length, or number.
    """

    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor

    def __init__(
        self,
        model: PriorDenoiser,
        condition: CPEN,
        unshuffle: int,
        multiple: int,
        timesteps: int,
        linear_start: float,
        linear_end: float,
    ) -> None:
        super().__init__()
        with torch.device("cpu"):  # on the meta device, where files are checked, torch imports its compiler for this
            schedule = _schedule(sqrt_linear_betas(timesteps, linear_start, linear_end))
        for name, values in schedule.items():
            self.register_buffer(name, torch.tensor(values.tolist(), dtype=torch.float32))
        self.model = model
        self.condition = condition
        self.unshuffle, self.multiple = unshuffle, multiple

    def forward(self, image: Tensor, noise: Tensor | None = None, prior: Tensor | None = None) -> Trajectory:
        for name, vectors in (("noise", noise), ("prior", prior)):
            if vectors is not None and tuple(vectors.shape) not in ((1, _PRIOR), (len(image), _PRIOR)):
                shapes = f"({len(image)}, {_PRIOR}) or (1, {_PRIOR})"
                raise ValueError(f"{name} should be of shape {shapes}, got {tuple(vectors.shape)}")
        condition = self.condition_of(image)
        x = torch.randn_like(condition, dtype=image.dtype) if noise is None else noise.expand(len(image), _PRIOR)
        if prior is not None:
            x = self.sqrt_alphas_cumprod[-1] * prior + self.sqrt_one_minus_alphas_cumprod[-1] * x
        steps = reverse_chain(
            lambda x, time: self.model(x, time, condition), x, self.posterior_mean_coef1, self.posterior_mean_coef2
        )
        return Trajectory(condition, steps)

    def condition_of(self, image: Tensor) -> Tensor:
        """What CPEN says of degraded images, (b, 256)."""
        return self.condition(_unshuffle(pad_to_multiple(image, self.multiple), self.unshuffle))


def _schedule(betas: Tensor) -> dict[str, Tensor]:
    """All that the authors' checkpoints hold of a process whose steps add noise of these variances."""
    kept = torch.cumprod(1 - betas, 0)
    before = torch.cat((torch.ones_like(kept[:1]), kept[:-1]))
    variance = betas * (1 - before) / (1 - kept)
    return {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": kept.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - kept),
    }


_SCHEDULE = tuple(_schedule(torch.tensor([0.5], dtype=torch.float64)))


class DiffIRS1(nn.Module):
    """Stage 1: restores an image with a prior from the image and its clean version, which stage 2 then learns to estimate.

    Args:
        n_encoder_res: residual blocks of CPEN.
        inp_channels: channels of the image.
        out_channels: channels of the result, as many.
        dim: width of the DIRformer's first level, even; each further level doubles it.
        num_blocks: blocks of each of the four levels, the same in encoder and decoder.
        num_refinement_blocks: blocks behind the last decoder.
        heads: attention heads of each level.
        ffn_expansion_factor: width of the feed-forward as a multiple of the level's width, rounded down.
        bias: whether the DIRformer's convolutions have biases; the first, those that change the size and those of the tail
            do not go by this.
        LayerNorm_type: the ordinary norm, "WithBias", or "BiasFree".
        variant: the network for motion deblurring, "deblur", or for super-resolution, "sr".
        scale: of super-resolution only: 4, 2, or 1 to restore without enlarging; None is 4.

    Shapes: image (b, c, h, w) and target (b, c, s h, s w) -> (b, c, s h, s w), any height and width.

    Raises:
        ValueError: the arguments make no network, or the target is not `scale` times as large as the image.
    """

    def __init__(
        self,
        n_encoder_res: int = 6,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: Literal["WithBias", "BiasFree"] = "WithBias",
        *,
        variant: Literal["deblur", "sr"] = "deblur",
        scale: int | None = None,
    ) -> None:
        super().__init__()
        scale = _check_images(variant, scale, inp_channels, out_channels)
        norm = check_restormer_levels(dim, num_blocks, num_refinement_blocks, heads, LayerNorm_type)
        self.G = DIRformer(
            inp_channels,
            out_channels,
            dim,
            num_blocks,
            num_refinement_blocks,
            heads,
            ffn_expansion_factor,
            bias,
            norm,
            scale,
        )
        self.unshuffle = _SHRINK // (scale or 1)
        self.E = CPEN(self.unshuffle**2 * inp_channels + _SHRINK**2 * out_channels, n_encoder_res)
        self.spec = spec(
            DiffIRS1,
            n_encoder_res=n_encoder_res,
            inp_channels=inp_channels,
            out_channels=out_channels,
            dim=dim,
            num_blocks=num_blocks,
            num_refinement_blocks=num_refinement_blocks,
            heads=heads,
            ffn_expansion_factor=ffn_expansion_factor,
            bias=bias,
            LayerNorm_type=LayerNorm_type,
            variant=variant,
            scale=scale,
        )

    def prior(self, image: Tensor, target: Tensor) -> Tensor:
        """The prior of images and their clean versions, (b, 256): what stage 2 takes as `prior` in training."""
        expected = (*image.shape[:-3], self.spec.out_channels, *(self.spec.scale * side for side in image.shape[-2:]))
        if target.shape != expected:
            raise ValueError(f"the target should be {expected} for an image {tuple(image.shape)}, got {tuple(target.shape)}")
        image = pad_to_multiple(image, self.spec.multiple)
        target = pad_to_multiple(target, self.spec.scale * self.spec.multiple)
        both = (_unshuffle(image, self.unshuffle), _unshuffle(target, _SHRINK))
        return self.E(torch.cat(both, dim=1))

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        height, width = (self.spec.scale * side for side in image.shape[-2:])
        restored = self.G(pad_to_multiple(image, self.spec.multiple), self.prior(image, target))
        return restored[..., :height, :width]


class DiffIRS2(nn.Module):
    """Stage 2: restores an image with a prior that four steps of diffusion make of the image.

    The diffusion begins with noise, a vector for each image. Other noise changes the result by about a percent, so give `noise`
    (zeros, for example) or seed torch where a result has to come again; `restore()` takes one vector for all tiles of an image.

    In training mode it begins with the prior of stage 1, to which the noise of the last time is added, and the priors after
    each step come back beside the image: `image, priors = stage2(degraded, prior=stage1.prior(degraded, clean))`. Gradients go
    through all steps (the paper's joint training).

    Args:
        n_encoder_res: residual blocks of CPEN.
        inp_channels: channels of the image.
        out_channels: channels of the result, as many.
        dim: width of the DIRformer's first level, even; each further level doubles it.
        num_blocks: blocks of each of the four levels, the same in encoder and decoder.
        num_refinement_blocks: blocks behind the last decoder.
        heads: attention heads of each level.
        ffn_expansion_factor: width of the feed-forward as a multiple of the level's width, rounded down.
        bias: whether the DIRformer's convolutions have biases; the first, those that change the size and those of the tail
            do not go by this.
        LayerNorm_type: the ordinary norm, "WithBias", or "BiasFree".
        n_denoise_res: layers of the denoising network behind its first.
        linear_start: variance of the diffusion's noise at the first time.
        linear_end: at the last.
        timesteps: of the diffusion.
        variant: the network for motion deblurring, "deblur", or for super-resolution, "sr".
        scale: of super-resolution only: 4, 2, or 1 to restore without enlarging; None is 4.

    Shapes: image (b, c, h, w), noise and prior (b, 256) or (1, 256) -> (b, c, s h, s w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, noise or prior have another shape, or there is no prior in
            training mode.
    """

    derived_suffixes = tuple(f"diffusion.{name}" for name in _SCHEDULE)

    def __init__(
        self,
        n_encoder_res: int = 6,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: Literal["WithBias", "BiasFree"] = "WithBias",
        n_denoise_res: int = 1,
        linear_start: float = 0.1,
        linear_end: float = 0.99,
        timesteps: int = 4,
        *,
        variant: Literal["deblur", "sr"] = "deblur",
        scale: int | None = None,
    ) -> None:
        super().__init__()
        scale = _check_images(variant, scale, inp_channels, out_channels)
        norm = check_restormer_levels(dim, num_blocks, num_refinement_blocks, heads, LayerNorm_type)
        self.G = DIRformer(
            inp_channels,
            out_channels,
            dim,
            num_blocks,
            num_refinement_blocks,
            heads,
            ffn_expansion_factor,
            bias,
            norm,
            scale,
        )
        unshuffle = _SHRINK // (scale or 1)
        self.spec = spec(
            DiffIRS2,
            n_encoder_res=n_encoder_res,
            inp_channels=inp_channels,
            out_channels=out_channels,
            dim=dim,
            num_blocks=num_blocks,
            num_refinement_blocks=num_refinement_blocks,
            heads=heads,
            ffn_expansion_factor=ffn_expansion_factor,
            bias=bias,
            LayerNorm_type=LayerNorm_type,
            n_denoise_res=n_denoise_res,
            linear_start=linear_start,
            linear_end=linear_end,
            timesteps=timesteps,
            variant=variant,
            scale=scale,
        )
        self.condition = CPEN(unshuffle**2 * inp_channels, n_encoder_res)
        self.denoise = PriorDenoiser(n_denoise_res, timesteps)
        # The two networks have a second name in it, and so have their weights in the authors' files.
        self.diffusion = PriorDiffusion(
            self.denoise, self.condition, unshuffle, self.spec.multiple, timesteps, linear_start, linear_end
        )

    def forward(
        self, image: Tensor, noise: Tensor | None = None, prior: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        if self.training and prior is None:
            raise ValueError(
                "DiffIRS2 trains with the prior of stage 1: pass prior=DiffIRS1.prior(image, target), or call eval()"
            )
        height, width = (self.spec.scale * side for side in image.shape[-2:])
        padded = pad_to_multiple(image, self.spec.multiple)
        priors = [after for _, after in self.diffusion(padded, noise, prior).steps]
        restored = self.G(padded, priors[-1])[..., :height, :width]
        return (restored, priors) if self.training else restored


def _unshuffle(image: Tensor, factor: int) -> Tensor:
    return image if factor == 1 else F.pixel_unshuffle(image, factor)


def _check_images(variant: str, scale: int | None, inp_channels: int, out_channels: int) -> int | None:
    """The scale of super-resolution, None for deblurring."""
    if variant not in ("deblur", "sr"):
        raise ValueError(f"variant should be 'deblur' or 'sr', got {variant!r}")
    if variant == "deblur" and scale not in (None, 1):
        raise ValueError(f"a network for deblurring does not enlarge, got scale {scale}; leave it out, or say variant='sr'")
    if variant == "sr" and scale not in (None, 1, 2, 4):
        raise ValueError(f"scale should be 1, 2 or 4, got {scale}")
    if inp_channels != out_channels:
        raise ValueError(f"the image is added to the result, so {inp_channels} channels in and {out_channels} out do not fit")
    return None if variant == "deblur" else scale or 4


_STAGE1: dict[str, Any] = {"inp_channels": 3, "out_channels": 3, "heads": (1, 2, 4, 8), "bias": False}
_STAGE2 = _STAGE1 | {"n_denoise_res": 1, "linear_start": 0.1, "linear_end": 0.99, "timesteps": 4}
_DEBLUR: dict[str, Any] = {
    "n_encoder_res": 5,
    "dim": 48,
    "num_blocks": (3, 5, 6, 6),
    "num_refinement_blocks": 4,
    "ffn_expansion_factor": 2,
    "LayerNorm_type": "WithBias",
    "variant": "deblur",
}
_SR: dict[str, Any] = {
    "n_encoder_res": 9,
    "dim": 64,
    "num_blocks": (13, 1, 1, 1),
    "num_refinement_blocks": 13,
    "ffn_expansion_factor": 2.2,
    "LayerNorm_type": "BiasFree",
    "variant": "sr",
}
_REAL = {4: ("sr4",), 2: ("sr2",), 1: ("auto",)}

VARIANTS: dict[str, Variant] = {
    "diffir_gopro": Variant(DiffIRS2, _STAGE2 | _DEBLUR, ("deblur",)),
    **{f"diffir_real_x{scale}": Variant(DiffIRS2, _STAGE2 | _SR | {"scale": scale}, _REAL[scale]) for scale in (1, 2, 4)},
    "diffir_srgan_x4": Variant(DiffIRS2, _STAGE2 | _SR | {"scale": 4}, ("sr4",)),
    "diffir_s1_gopro": Variant(DiffIRS1, _STAGE1 | _DEBLUR),
    **{f"diffir_s1_real_x{scale}": Variant(DiffIRS1, _STAGE1 | _SR | {"scale": scale}) for scale in (1, 2, 4)},
    "diffir_s1_srgan_x4": Variant(DiffIRS1, _STAGE1 | _SR | {"scale": 4}),
}


def spec(cls: type[nn.Module] = DiffIRS2, **config: Any) -> NetSpec:
    """What a caller must know of `cls(**config)`."""
    config |= {key: tuple(config[key]) for key in ("num_blocks", "heads") if key in config}
    scale = (config.get("scale") or 4) if config.get("variant", "deblur") == "sr" else None
    published = (v for v in VARIANTS.values() if v.cls is cls and all(config.get(k) == v.config[k] for k in v.config))
    stage2 = issubclass(cls, DiffIRS2)
    return NetSpec(
        scale=scale or 1,
        in_channels=config.get("inp_channels", 3),
        out_channels=config.get("out_channels", 3),
        multiple=8 if scale is None else 32 // scale,
        halo=None,
        global_ops=("DMTA", "CPEN"),
        tasks=tuple(dict.fromkeys(task for variant in published for task in variant.tasks)),
        unrecorded=("linear_start", "linear_end", "timesteps") if stage2 else (),
        role="restorer" if stage2 else "part",
        inputs=("image",) if stage2 else ("image", "target"),
        noise=_PRIOR if stage2 else 0,
    )


_LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
_CPEN = r"(E\.\d+\.(body\.[02]\.)?|mlp\.[02]\.)(weight|bias)"
_KEY = re.compile(
    r"G\.patch_embed\.proj\.weight"
    r"|G\.(down1_2|down2_3|down3_4|up4_3|up3_2|up2_1)\.body\.0\.weight"
    r"|G\.(reduce_chan_level[23]|output|tail\.0\.[02]|tail\.1)\.(weight|bias)"
    r"|G\.(encoder_level[123]|latent|decoder_level[123]|refinement)\.\d+\."
    r"(norm[12]\.body\.(weight|bias)|attn\.temperature|(attn|ffn)\.kernel\.0\.weight"
    r"|(attn\.(qkv|qkv_dwconv|project_out)|ffn\.(project_in|dwconv|project_out))\.(weight|bias))"
    rf"|(E|condition|diffusion\.condition)\.{_CPEN}"
    r"|(denoise|diffusion\.model)\.resmlp\.\d+\.(resmlp\.0\.)?(weight|bias)"
    rf"|diffusion\.({'|'.join(_SCHEDULE)})"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no DiffIR's.

    The noise of the diffusion is told by the values of its schedule, where the file has them and they are such values.
    """
    stage2 = "condition.E.0.weight" in state_dict
    deblur = "G.output.weight" in state_dict
    cpen, last = "condition" if stage2 else "E", "G.output.weight" if deblur else "G.tail.1.weight"
    dims = {"G.patch_embed.proj.weight": 4, last: 4, f"{cpen}.E.0.weight": 4}
    dims |= {f"G.{level}.0.attn.temperature": 3 for level in _LEVELS}
    if stage2:
        dims["denoise.resmlp.0.weight"] = 2
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    if not all(key in state_dict and state_dict[key].ndim == ndim for key, ndim in dims.items()):
        return None
    if stage2 == any(key.startswith("E.") for key in state_dict):
        return None
    factor = infer_gdfn_factor({value.shape for key, value in state_dict.items() if key.endswith("ffn.project_out.weight")})
    dim, unshuffled = state_dict["G.patch_embed.proj.weight"].shape[:2]
    channels = len(state_dict[last])
    # Unshuffling by 1, 2 and 4 has so many times the image's channels.
    scale = next((scale for scale in (4, 2, 1) if unshuffled == channels * (4 // scale) ** 2), None)
    if factor is None or scale is None or (deblur and unshuffled != channels):
        return None
    config: dict[str, Any] = {
        "n_encoder_res": sum(key.startswith(f"{cpen}.E.") and key.endswith(".body.0.weight") for key in state_dict),
        "inp_channels": channels,
        "out_channels": channels,
        "dim": dim,
        "num_blocks": tuple(_depth(state_dict, level) for level in _LEVELS),
        "num_refinement_blocks": _depth(state_dict, "refinement"),
        "heads": tuple(len(state_dict[f"G.{level}.0.attn.temperature"]) for level in _LEVELS),
        "ffn_expansion_factor": factor,
        "bias": "G.reduce_chan_level3.bias" in state_dict,
        "LayerNorm_type": "WithBias" if "G.latent.0.norm1.body.bias" in state_dict else "BiasFree",
    }
    config |= {"variant": "deblur"} if deblur else {"variant": "sr", "scale": scale}
    if not stage2:
        return Inferred(DiffIRS1, config)
    layers = sum(key.startswith("denoise.resmlp.") and key.endswith(".weight") for key in state_dict)
    config["n_denoise_res"] = layers - 1
    schedule = _told_schedule(state_dict.get("diffusion.betas"))
    usual = {"linear_start": 0.1, "linear_end": 0.99, "timesteps": 4}
    assumed = {argument: "as in every published configuration" for argument in usual if argument not in schedule}
    return Inferred(DiffIRS2, config | usual | schedule, assumed)


def _depth(state_dict: StateDict, level: str) -> int:
    return sum(key.startswith(f"G.{level}.") and key.endswith(".attn.temperature") for key in state_dict)


def _told_schedule(betas: Tensor | None) -> dict[str, Any]:
    """The arguments that the variances of a file tell; they may be missing, or without values."""
    if betas is None or betas.ndim != 1 or not len(betas):
        return {}
    told: dict[str, Any] = {"timesteps": len(betas)}
    if betas.is_meta:
        return told
    betas = betas.double().cpu()
    start, end = (float(f"{value:.6g}") for value in (betas[0].item(), betas[-1].item()))
    if not 0 < start <= end <= 1 or not torch.allclose(sqrt_linear_betas(len(betas), start, end), betas, rtol=1e-5, atol=0):
        return told
    return told | {"linear_start": start, "linear_end": end}
