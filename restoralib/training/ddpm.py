"""DDPM: a prior of photographs that guidance such as DDRM or DiffPIR restores with.

    python -m restoralib.training.ddpm PHOTOGRAPHS --out prior.safetensors

Ho et al. 2020 (arXiv:2006.11239) with the U-Net of guided diffusion: noise of a random one of 1000 times, squared error of
what the network says of it; Adam with 1e-4 and an average of 0.9999, as Dhariwal and Nichol train (arXiv:2105.05233). A
network with twice the channels learns the variance, too, by the hybrid loss of arXiv:2102.09672.
"""

from __future__ import annotations

from torch import Tensor

from restoralib.diffusion import DDPM, DiffusionModel, diffusion_model, hybrid_loss, prediction_loss
from restoralib.training.loop import Schedule
from restoralib.training.noising import diffusion_parser, states, train_diffusion
from restoralib.training.options import parse_recipe


def ddpm_loss(model: DiffusionModel, batch: dict[str, Tensor]) -> Tensor:
    """L_simple; with learned variance, the bound beside it."""
    assert isinstance(model.process, DDPM)
    x0, _ = states(model, batch)
    if model.learned_variance:
        return hybrid_loss(model.net, model.process, x0, batch["time"], batch["noise"])
    return prediction_loss(model.net, model.process, "eps", x0, batch["time"], batch["noise"])


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = diffusion_parser(__doc__, arch="adm_ffhq_10m", degrade=None, steps=500_000, batch=16, patch=128)
    options = parse_recipe(parser, arguments)
    schedule = Schedule(options.steps, 1e-4, warmup=0, decay=0, betas=(0.9, 0.999), ema=0.9999)
    train_diffusion(options, diffusion_model, ddpm_loss, schedule)


if __name__ == "__main__":
    main()
