"""SR3: super-resolution by a diffusion that sees the enlarged image beside its state.

    python -m restoralib.training.sr3 PHOTOGRAPHS --out sr3.safetensors --degrade sr8

Saharia et al. 2021 (arXiv:2104.07636): the noise level is drawn between two neighbours of a schedule of 2000 steps, the
network is told sqrt(alpha_bar), and the error of the noise is absolute. Adam with 1e-4, reached over 10,000 steps, average
0.9999.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restoralib.diffusion import DDPM, DiffusionModel, concatenated, conditional_loss, diffusion_model, draw_noise_level
from restoralib.ops.schedules import linear_betas
from restoralib.training.loop import Schedule
from restoralib.training.noising import diffusion_parser, states, train_diffusion
from restoralib.training.options import parse_recipe


@dataclass(frozen=True)
class LevelAndNoise:
    """Draws "level", alpha_bar of an item, and "noise".

    Args:
        process: the schedule.
        root: draw sqrt(alpha_bar) evenly between its neighbours; False draws alpha_bar.
    """

    process: DDPM
    root: bool = True

    def __call__(self, clean: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        level = draw_noise_level(self.process, 1, generator, root=self.root)[0]
        return {"level": level**2 if self.root else level, "noise": torch.randn(clean.shape, generator=generator)}


def sr3_loss(model: DiffusionModel, batch: dict[str, Tensor]) -> Tensor:
    """How far the network is from the noise, in absolute value."""
    x0, y = states(model, batch)
    assert y is not None
    net = concatenated(model.net, y)
    return conditional_loss(lambda x, level: net(x, level.sqrt()), x0, batch["level"], batch["noise"])


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = diffusion_parser(__doc__, arch="sr3_faces_16_128", degrade="sr8", steps=1_000_000, batch=256, patch=128)
    options = parse_recipe(parser, arguments)
    process = DDPM(linear_betas(2000, 1e-6, 1e-2))
    warmup = min(10_000, options.steps // 10)
    schedule = Schedule(options.steps, 1e-4, warmup=warmup, decay=0, betas=(0.9, 0.999), ema=0.9999, clip=None)
    train_diffusion(options, diffusion_model, sr3_loss, schedule, LevelAndNoise(process))


if __name__ == "__main__":
    main()
