"""The SANA-Denoiser out of published weights: pairs of latents, a flow between clean ones and noise, prompts for degradations.

    python -m restoralib.training.sana PHOTOGRAPHS --phase lora --sides 512 --base Sana_1600M_1024px_BF16.safetensors \
        --autoencoder dc-ae-f32c32-sana-1.1.safetensors --encoder gemma-2-2b-it --out denoiser.safetensors
    python -m restoralib.training.sana PHOTOGRAPHS --phase full --sides 512 1024 --base denoiser.safetensors \
        --autoencoder dc-ae-f32c32-sana-1.1.safetensors --table denoiser.prompts.safetensors --out denoiser_full.safetensors

Phase "lora" trains the projection that takes the degraded latents in, and differences of rank 32 on the attention's layers,
which are added to the weights at the end; it answers whether the network learns to denoise at all. Phase "full" trains the
whole transformer. The autoencoder is frozen; a latent is what it encodes, without a draw, times its scaling factor. Both images
of a pair have the same crop and flips. Levels are logit-normal, shifted by 3 towards the noise. Steps are shared evenly among
the `--sides` of patches, from the smallest to the largest. Gradients are checkpointed, losses are bfloat16 and weights averaged
with decay 0.9999. The optimizer is AdamW in full precision.

Prompts are vectors of a text encoder (`--encoder`, a folder for `transformers`), of a table that was written before
(`--table`), or of a table that is learned beside the network. The table is written beside `--out`, as
`NAME.prompts.safetensors`; with it no encoder is needed to restore. A run that is started again with the same `--state` goes on
where it was.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.sana import SanaTransformer
from restoralib.archs.sana_denoiser import SanaDenoiser
from restoralib.checkpoints import load_model
from restoralib.data.photographs import random_patches, split
from restoralib.degradations.pipelines.paired import PairedDegradation
from restoralib.latent.lora import ATTENTION, SELF_ATTENTION, add_lora, merge_lora
from restoralib.latent.objectives import WEIGHTINGS, draw_levels, paired_flow_loss
from restoralib.latent.prompts import PromptTable, all_prompts, draw_prompt
from restoralib.ops.levels import round_to_levels
from restoralib.training.loop import Schedule, train
from restoralib.training.options import export_recipe, large_photographs, parse_recipe, recipe_parser, run_options

TASKS = ("denoise", "jpeg", "deblur", "resize", "color")
"""The degradations of the SANA-Denoiser's pairs, by the names of what undoes them."""


class Prompted(nn.Module):
    """A denoiser with its table of prompts.

    Shapes: noisy and degraded latents (b, c, h, w), times (b,), b texts -> (b, c, h, w).
    """

    def __init__(self, denoiser: SanaDenoiser, table: PromptTable) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.table = table

    def forward(self, x: Tensor, condition: Tensor, timestep: Tensor, prompts: Sequence[str]) -> Tensor:
        text, mask = self.table(prompts)
        return self.denoiser(x, condition, timestep, text, mask)


def draw_pairs(images: Sequence[Tensor], side: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Clean patches, the same patches spoilt, and what to say of each.

    Args:
        images: photographs, (3, h, w) of 0 to 255.
        side: of a patch.
        count: b.
        generator: source of all randomness.

    Returns:
        Clean and degraded patches (b, 3, side, side) in [0, 1], and b prompts.
    """
    clean = random_patches(images, side, count, generator).float() / 255
    degraded, prompts = [], []
    for patch in clean:
        degradation = PairedDegradation.draw(generator, tasks=TASKS)
        degraded.append(round_to_levels(degradation(patch[None])))
        prompts.append(draw_prompt(degradation.tasks, generator))
    return clean, torch.cat(degraded), prompts


def pair_loss(
    net: nn.Module,
    autoencoder: Any,
    images: Sequence[Tensor],
    side: int,
    count: int,
    generator: torch.Generator,
    weighting: str = "logit_normal",
) -> Tensor:
    """The loss of a `Prompted` on pairs that are drawn now."""
    clean, degraded, prompts = draw_pairs(images, side, count, generator)
    sigma = draw_levels(count, generator)
    device = next(net.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        both = 2 * torch.cat((clean, degraded)).to(device) - 1
        latents, conditions = (autoencoder.encode(both) * autoencoder.scaling_factor).chunk(2)
    eps = torch.randn(latents.shape, generator=generator).to(device)
    return paired_flow_loss(net, latents, conditions, sigma.to(eps), eps, prompts, weighting=weighting)


def load_denoiser(path: Path, **arguments: Any) -> SanaDenoiser:
    """The denoiser of a file: its own, or one that begins as the SANA in it.

    Args:
        path: weights of a SanaTransformer or SanaDenoiser.
        arguments: what its weights do not tell, as for `load_model`.

    Raises:
        TypeError: the file holds another network.
    """
    net = load_model(path, **arguments)
    if isinstance(net, SanaDenoiser):
        return net
    if not isinstance(net, SanaTransformer):
        raise TypeError(f"{path} holds {type(net).__name__}, expected SanaTransformer or SanaDenoiser")
    return SanaDenoiser.from_base(net)


def load_table(options: argparse.Namespace, features: int) -> PromptTable:
    """The table of prompts that the options say: written before, of a text encoder, or a new one that learns."""
    if options.table:
        return PromptTable.load(options.table)
    if not options.encoder:
        return PromptTable(all_prompts(), features, tokens=4)
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ImportError("--encoder needs transformers: pip install 'restoralib[text]'") from error
    tokenizer = AutoTokenizer.from_pretrained(options.encoder, local_files_only=True, padding_side="right")
    encoder = AutoModel.from_pretrained(options.encoder, local_files_only=True).to(options.device)
    return PromptTable.encoded(all_prompts(), tokenizer, encoder).cpu()


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=10_000, batch=4, patch=512)
    parser.add_argument("--base", type=Path, required=True, help="weights of a SANA or of a SANA-Denoiser to start from")
    parser.add_argument("--autoencoder", type=Path, required=True, help="weights of its DC-AE")
    parser.add_argument("--phase", choices=("lora", "full"), default="lora")
    parser.add_argument("--sides", type=int, nargs="+", help="sides of patches, one stage each (default: --patch)")
    parser.add_argument("--rank", type=int, default=32, help="of the differences that phase lora learns")
    parser.add_argument("--layers", choices=("self", "both"), default="both", help="attention in which phase lora learns")
    parser.add_argument("--weighting", choices=tuple(WEIGHTINGS), default="logit_normal")
    parser.add_argument("--rate", type=float, default=1e-5, help="learning rate")
    parser.add_argument("--ema", type=float, default=0.9999, help="decay of the average of the weights")
    parser.add_argument("--encoder", type=Path, help="folder of a text encoder for transformers")
    parser.add_argument("--table", type=Path, help="table of prompts that an earlier run wrote")
    parser.set_defaults(precision="bfloat16")
    options = parse_recipe(parser, arguments)
    sides = sorted(options.sides or [options.patch])
    held_out, images = split(large_photographs(options, sides[-1]))
    torch.manual_seed(options.seed)

    autoencoder: Any = load_model(options.autoencoder).to(options.device).requires_grad_(False).eval()
    denoiser = load_denoiser(options.base).float()
    table = load_table(options, denoiser.spec.text_channels)
    if options.phase == "lora":
        add_lora(denoiser, options.rank, SELF_ATTENTION if options.layers == "self" else ATTENTION, beside=("proj",))
    denoiser.gradient_checkpointing = True
    net = Prompted(denoiser, table).to(options.device)

    def validate(net: nn.Module, side: int) -> float:
        source = (torch.Generator().manual_seed(number) for number in itertools.count())
        with torch.inference_mode():
            losses = [pair_loss(net, autoencoder, [photograph], side, 4, next(source)) for photograph in held_out]
        return -torch.stack(losses).mean().item()

    shares = [options.steps * (number + 1) // len(sides) - options.steps * number // len(sides) for number in range(len(sides))]
    average: nn.Module = net
    for side, steps in zip(sides, shares, strict=True):
        schedule = Schedule(steps, options.rate, decay=0.0, betas=(0.9, 0.999), ema=options.ema, warmup=min(200, steps // 10))
        loss = partial(_loss, autoencoder, images, side, options.batch, options.weighting)
        told = run_options(options, partial(validate, side=side), str(side) if len(sides) > 1 else "")
        average = train(net, loss, schedule, **told)
    assert isinstance(average, Prompted)
    merge_lora(average.denoiser)
    export_recipe(average.denoiser, average.denoiser.config, options)
    average.table.save(options.out.with_suffix(".prompts.safetensors"))


def _loss(
    autoencoder: Any,
    images: Sequence[Tensor],
    side: int,
    count: int,
    weighting: str,
    net: nn.Module,
    generator: torch.Generator,
) -> Tensor:
    return pair_loss(net, autoencoder, images, side, count, generator, weighting)


if __name__ == "__main__":
    main()
