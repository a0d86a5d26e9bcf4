"""IR-SDE: restoration by the way back from a degraded image with noise, to which a clean one drifts.

    python -m restoralib.training.irsde PHOTOGRAPHS --out irsde.safetensors --degrade derain
    python -m restoralib.training.irsde PHOTOGRAPHS --arch refusion --out refusion.safetensors --degrade dehaze

Luo et al. 2023 (arXiv:2301.11699): 100 times of the cosine schedule, and the absolute difference of the network's reverse
step from the best one. 700,000 steps of Adam with 1e-4 on 4 patches of 128. Refusion (arXiv:2304.08291) is the same with
another network.
"""

from __future__ import annotations

from torch import Tensor

from restoralib.diffusion import IRSDE, DiffusionModel, diffusion_model
from restoralib.training.loop import Schedule
from restoralib.training.noising import diffusion_parser, states, train_diffusion
from restoralib.training.options import parse_recipe


def matching_loss(model: DiffusionModel, batch: dict[str, Tensor]) -> Tensor:
    """L1 between the network's step and the best one."""
    process, time = model.process, batch["time"]
    assert isinstance(process, IRSDE)
    x0, y = states(model, batch)
    assert y is not None
    x_t = process.marginal(x0, time, batch["noise"], y)
    return process.matching_loss(x_t, x0, model.denoiser(y, clip=False)(x_t, time).x0, time, y)


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = diffusion_parser(__doc__, arch="irsde_derain_rain100h", degrade="derain", steps=700_000, batch=4, patch=128)
    options = parse_recipe(parser, arguments)
    milestones = tuple(round(share * options.steps) for share in (2 / 7, 4 / 7, 5 / 7, 6 / 7))
    schedule = Schedule(options.steps, 1e-4, warmup=0, decay=0, betas=(0.9, 0.99), milestones=milestones, clip=None)
    train_diffusion(options, diffusion_model, matching_loss, schedule)


if __name__ == "__main__":
    main()
