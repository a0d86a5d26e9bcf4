"""A small latent denoiser of our own: an autoencoder of photographs, and a flow that denoises its latents.

    python -m restoralib.training.latent PHOTOGRAPHS --stage autoencoder --out latent_autoencoder.safetensors
    python -m restoralib.training.latent PHOTOGRAPHS --stage denoiser --out latent_denoise.safetensors \\
        --autoencoder latent_autoencoder.safetensors

The autoencoder, a DCAE, starts as the best linear code (`principal_start`) and learns to give patches back, by the mean
absolute error. How much its latents vary is measured at the end and kept as `scaling_factor`.

The denoiser is a SANA-Denoiser in its folded form, a SanaTransformer that takes noisy and degraded latents in one tensor: the
1x1 projection before a published SANA keeps half of these channels, and there is no such SANA here. It learns the velocity from
clean latents to noise beside the latents of the same patch with noise of sigma 0 to 55 (of 255), clamped and rounded to 8 bits.
Half of each batch is at pure noise, where one step gives the mean of the clean latents that are possible, the best in PSNR; the
other half at times as SANA has them. Errors of latents count as much as the decoder shows of them (`decoder_metric`). The
latents of all pairs are made once and kept beside the state.

A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.dcae import DCAE, mean_of_groups
from restoralib.archs.sana import SanaTransformer
from restoralib.blocks.norm import RMSNorm2d
from restoralib.checkpoints import load_model
from restoralib.data.photographs import random_patches, split
from restoralib.latent.objectives import draw_levels
from restoralib.latent.restorer import LatentRestorer, degradation_text
from restoralib.metrics.psnr import psnr
from restoralib.training.denoise import MAX_SIGMA, add_noise
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule, save_atomically
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe

logger = logging.getLogger(__name__)

AUTOENCODER: dict[str, Any] = {
    "latent_channels": 48,
    "encoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (24, 24, 48, 96),
    "decoder_block_out_channels": (24, 24, 48, 96),
    "encoder_layers_per_block": (0, 1, 1, 1),
    "decoder_layers_per_block": (0, 1, 1, 1),
    "encoder_qkv_multiscales": ((), (), (), ()),
    "decoder_qkv_multiscales": ((), (), (), ()),
}
DENOISER: dict[str, Any] = {
    "num_attention_heads": 7,
    "attention_head_dim": 16,
    "num_layers": 4,
    "num_cross_attention_heads": 1,
    "cross_attention_head_dim": 32,
    "cross_attention_dim": 112,
    "mlp_ratio": 2.0,
}


def draw_times(count: int, generator: torch.Generator) -> Tensor:
    """Times for a batch, (count,): the first half is 1, the rest as SANA's, logit-normal and shifted."""
    times = draw_levels(count, generator).float()
    times[: (count + 1) // 2] = 1
    return times


@torch.no_grad()
def decoder_metric(autoencoder: DCAE, latents: Tensor, step: float = 0.5) -> Tensor:
    """How much errors of a latent show: the matrix M for which e^T M e is about the squared error of the image.

    Every fourth sample of latents is changed, one channel at a time, and the images are compared. The scale is free: the mean
    of M's diagonal is 1.

    Args:
        autoencoder: whose decoder is measured.
        latents: of photographs, (b, c, h, w), as it encodes them.
        step: by how much samples are changed, in standard deviations of the latents.

    Returns:
        (c, c), symmetric and positive.
    """
    image, changes = autoencoder.decode(latents), []
    for channel in range(latents.shape[1]):
        changed = latents.clone()
        changed[:, channel, 2::4, 2::4] += step * latents.std()
        changes.append((autoencoder.decode(changed) - image).flatten())
    rows = torch.stack(changes)
    metric = rows @ rows.T
    return metric / metric.diagonal().mean()


@torch.no_grad()
def principal_start(net: DCAE, images: Sequence[Tensor], generator: torch.Generator) -> None:
    """Set a new autoencoder's weights to the best linear code of blocks of 8x8 pixels, from which training goes on.

    From random weights, thousands of steps go by before details of little contrast are coded at all. Here convolutions begin
    with their middle taps alone, residual branches with zero, and the widest layers of either half with the reduced-rank
    regression of blocks on features. Latents are divided by the square root of their deviations, halfway to equal ones.
    A constant in the spare channels keeps the decoder's last norm and activation linear at first.

    Args:
        net: with `AUTOENCODER`'s layers: a factor of 8, widths of 24, 48 and more than `latent_channels`.
        images: (3, h, w) of 0 to 255.
        generator: draws patches.
    """
    encoder: Any = net.encoder
    decoder: Any = net.decoder
    for module in net.modules():
        if isinstance(module, RMSNorm2d):
            module.weight.zero_()
    patches = random_patches(images, 64, 256, generator).float() / 127.5 - 1
    quarter = F.pixel_unshuffle(F.pixel_unshuffle(patches, 2), 2)
    _middle(encoder.conv_in.conv, torch.eye(len(encoder.conv_in.conv.weight), 3), keep=0.1)
    first, second = encoder.down_blocks[1][-1].conv, encoder.down_blocks[2][-1].conv
    _middle(first, 2 * torch.eye(*first.weight.shape[:2]))
    maps = encoder.down_blocks[1](encoder.conv_in(patches))
    code, _, _, _ = _reduced_rank(maps, quarter, len(second.weight))
    _middle(second, 2 * code)
    maps = encoder.down_blocks[2](maps)
    code, basis, mean, offset = _reduced_rank(maps, F.pixel_unshuffle(quarter, 2), net.channels)
    shares = mean_of_groups(torch.eye(maps.shape[1])[..., None, None], net.channels)[..., 0, 0].T
    _middle(encoder.conv_out, code - shares, -(code @ mean))

    count, width = net.channels, decoder.conv_in.out_channels
    _middle(decoder.conv_in, torch.eye(width, count) - _repeats(width, count))
    deep, shallow = decoder.up_blocks[2][0].conv, decoder.up_blocks[1][0].conv
    _middle(deep, F.pad(basis, (0, width - count)) - _repeats(*deep.weight.shape[:2]), offset)
    _middle(shallow, torch.eye(*shallow.weight.shape[:2]) - _repeats(*shallow.weight.shape[:2]))
    constant, spare = 10.0, 1 - 12 / decoder.norm_out.weight.numel()
    shallow.bias[48:] = constant
    decoder.norm_out.weight.fill_(constant * spare**0.5)
    decoder.norm_out.bias.fill_(2.0)
    last = decoder.conv_out.conv
    _middle(last, torch.eye(*last.weight.shape[:2]), torch.full_like(last.bias, -2.0))


def _middle(conv: nn.Conv2d, weight: Tensor, bias: Tensor | float = 0.0, keep: float = 0.0) -> None:
    """Set a convolution to a matrix in its middle tap; `keep` of what was there is added."""
    conv.weight.mul_(keep)
    conv.weight[..., 1, 1] += weight
    assert conv.bias is not None
    conv.bias.copy_(torch.as_tensor(bias).expand_as(conv.bias))


def _repeats(outputs: int, inputs: int) -> Tensor:
    """What `repeated` does to channels, as a matrix."""
    return torch.eye(inputs).repeat_interleave(outputs // inputs, 0)


def _reduced_rank(features: Tensor, targets: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best linear guess of targets (b, d, h, w) from `rank` numbers that are linear in features (b, c, h, w).

    Returns:
        Matrices (rank, c) to the numbers, these halfway to equal deviations, and (d, rank) from them; the means of both maps.
    """
    x, y = (maps.transpose(0, 1).flatten(1).double() for maps in (features, targets))
    mean, offset = x.mean(1), y.mean(1)
    x, y = x - mean[:, None], y - offset[:, None]
    full = torch.linalg.lstsq(x @ x.T + 1e-6 * torch.eye(len(x)), x @ y.T).solution.T
    values, vectors = torch.linalg.eigh(full @ (x @ y.T) / x.shape[1])
    basis, scale = vectors.flip(1)[:, :rank], values.flip(0)[:rank].clamp(min=1e-8) ** 0.25
    return (basis.T @ full / scale[:, None]).float(), (basis * scale).float(), mean.float(), offset.float()


def main(arguments: list[str] | None = None) -> None:
    """Run a stage of the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=2_000, batch=4, patch=96)
    parser.add_argument("--stage", choices=("autoencoder", "denoiser"), required=True)
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate")
    parser.add_argument("--autoencoder", type=Path, help="trained weights of the first stage, for the second")
    parser.add_argument("--pairs", type=int, default=4096, help="patches whose latents the second stage learns from")
    options = parse_recipe(parser, arguments)
    if options.stage == "autoencoder":
        _train_autoencoder(options)
    elif options.autoencoder:
        _train_denoiser(options)
    else:
        parser.error("the second stage needs the weights of the first: --autoencoder FILE")


def _train_autoencoder(options: argparse.Namespace) -> None:
    held_out, images = split(large_photographs(options, options.patch))
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    net = DCAE(**AUTOENCODER)
    principal_start(net, images, torch.Generator().manual_seed(options.seed))
    net = net.to(device).to(memory_format=torch.channels_last)

    def draw(generator: torch.Generator) -> Tensor:
        patches = random_patches(images, options.patch, options.batch, generator).float() / 127.5 - 1
        return patches.to(device, memory_format=torch.channels_last)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        assert isinstance(net, DCAE)
        clean = draw(generator)
        return (net.decode(net.encode(clean)) - clean).abs().mean()

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        crops = [photograph[None, :, :128, :128].float() / 255 for photograph in held_out]
        return sum(psnr(net(crop.to(device)).cpu().clamp(0, 1), crop).item() for crop in crops) / len(crops)

    schedule = Schedule(options.steps, options.rate, decay=0.7, betas=(0.9, 0.99))
    average = train_recipe(net, loss, schedule, options, validate)
    assert isinstance(average, DCAE)
    with torch.inference_mode():
        latents = torch.cat([average.encode(draw(torch.Generator().manual_seed(number))) for number in range(64)])
    config = {**AUTOENCODER, "scaling_factor": round(1 / latents.std().item(), 4)}
    export_weights(average, options.out, arch="dcae", config=config, half=True)


@torch.no_grad()
def _encode_pairs(autoencoder: DCAE, images: list[Tensor], options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Scaled latents of clean patches and of the same patches with noise, (n, c, h, w), float16."""
    clean_latents: list[Tensor] = []
    noisy_latents: list[Tensor] = []
    for start in range(0, options.pairs, 16):
        count = min(16, options.pairs - start)
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + start)
        clean = random_patches(images, options.patch, count, generator).float() / 255
        noisy = add_noise(clean, torch.rand(count, 1, 1, 1, generator=generator) * MAX_SIGMA, generator)
        both = torch.cat((clean, noisy)).to(options.device, memory_format=torch.channels_last)
        latents = autoencoder.encode(2 * both - 1) * autoencoder.scaling_factor
        for parts, part in zip((clean_latents, noisy_latents), latents.half().cpu().contiguous().chunk(2), strict=True):
            parts.append(part)
    return torch.cat(clean_latents), torch.cat(noisy_latents)


def _train_denoiser(options: argparse.Namespace) -> None:
    held_out, images = split(large_photographs(options, options.patch))
    device = torch.device(options.device)
    autoencoder = load_model(options.autoencoder, device=device)
    if not isinstance(autoencoder, DCAE):
        raise ValueError(f"{options.autoencoder} holds a {type(autoencoder).__name__}, not a DCAE")
    autoencoder.requires_grad_(False)
    kept = options.state.with_suffix(".latents.pt")
    if not kept.exists():
        save_atomically(_encode_pairs(autoencoder, images, options), kept)
        logger.info("made the latents of %d pairs", options.pairs)
    clean_latents, noisy_latents = torch.load(kept, weights_only=True)
    metric = decoder_metric(autoencoder, clean_latents[:8].to(device).float() / autoencoder.scaling_factor)
    root = torch.linalg.cholesky(metric + 1e-4 * torch.eye(len(metric), device=device)).T

    torch.manual_seed(options.seed)
    channels, text = autoencoder.channels, degradation_text("denoise").to(device)
    config = {"in_channels": 2 * channels, "out_channels": channels, "caption_channels": text.shape[-1], **DENOISER}
    net = SanaTransformer(**config).to(device)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(clean_latents), (options.batch,), generator=generator)
        clean, condition = (latents[chosen].float().to(device) for latents in (clean_latents, noisy_latents))
        noise = torch.randn(clean.shape, generator=generator).to(device)
        times = draw_times(options.batch, generator).to(device)
        sigma = times[:, None, None, None]
        noisy = (1 - sigma) * clean + sigma * noise
        velocity = net(torch.cat((noisy, condition), 1), text, 1000 * times)
        error = velocity - (noise - clean)
        return torch.einsum("dc,bchw->bdhw", root, error).square().mean()

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        restorer, figures = LatentRestorer(autoencoder, net, text, steps=1, tiling=None), []
        for number, photograph in enumerate(held_out):
            clean = photograph[None, :, :128, :128].float() / 255
            for sigma in (25, 50):
                generator = torch.Generator().manual_seed(number)
                noisy = add_noise(clean, torch.tensor(sigma / 255), generator)
                restored = restorer(noisy.to(device), noise=generator).cpu().clamp(0, 1)
                figures.append(psnr(restored, clean).item())
        return sum(figures) / len(figures)

    schedule = Schedule(options.steps, options.rate, betas=(0.9, 0.99))
    average = train_recipe(net, loss, schedule, options, validate)
    export_weights(average, options.out, arch="sana", config=config, half=True)


if __name__ == "__main__":
    main()
