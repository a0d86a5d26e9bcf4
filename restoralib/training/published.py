"""How the authors of networks trained them: losses, learning rates, patches and batches, as a table by class.

Figures are those of the papers, or of the authors' code where the two differ; a network that is not in the table is trained as
`DEFAULT` says. Batches are those of all devices together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from restoralib.losses import charbonnier_loss, edge_loss, l1_loss, mse_loss, psnr_loss
from restoralib.training.batches import RESTORMER_STAGES, Stage, scaled_stages
from restoralib.training.loop import Schedule


def mprnet_loss(restored: Tensor, target: Tensor) -> Tensor:
    """Charbonnier's loss and 0.05 of that of the edges, MPRNet's for blur and rain (arXiv:2102.02808, equation 2)."""
    return charbonnier_loss(restored, target) + 0.05 * edge_loss(restored, target)


@dataclass(frozen=True)
class Settings:
    """How a network was trained.

    Args:
        loss: of each image that it gives, summed where it gives several.
        schedule: steps and learning rates.
        patch: side of its input.
        batch: images to a step.
        stages: where patches grow.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    patch: int
    batch: int
    stages: tuple[Stage, ...] = ()

    def scaled(self, *, steps: int, patch: int, batch: int) -> tuple[Schedule, tuple[Stage, ...]]:
        """Schedule and stages of a run of another length or size, in the same proportions."""
        whole = self.schedule
        share = steps / whole.steps
        schedule = replace(
            whole,
            steps=steps,
            warmup=round(whole.warmup * share),
            milestones=tuple(round(milestone * share) for milestone in whole.milestones),
        )
        stages = self.stages or (Stage(0, patch, batch),)
        return schedule, scaled_stages(stages, steps=(steps, whole.steps), patch=patch, batch=batch)


def _halved(steps: int, rate: float, *milestones: int, ema: float = 0.0) -> Schedule:
    """Adam whose rate is halved at some steps."""
    return Schedule(steps, rate, warmup=0, decay=0, betas=(0.9, 0.99), milestones=milestones, ema=ema, clip=None)


_NAFNET = Schedule(400_000, 1e-3, warmup=0, decay=1, betas=(0.9, 0.9), weight_decay=1e-3, ema=0, floor=1e-7, clip=0.01)
_RESTORMER = Schedule(
    300_000, 3e-4, warmup=0, decay=208 / 300, betas=(0.9, 0.999), weight_decay=1e-4, ema=0, floor=1e-6, clip=0.01
)
_MPRNET = Schedule(394_000, 2e-4, warmup=400, decay=1, betas=(0.9, 0.999), ema=0, floor=1e-6, clip=None)
_TRANSFORMER_SR = _halved(500_000, 2e-4, 250_000, 400_000, 450_000, 475_000, ema=0.999)

PUBLISHED: Mapping[str, Settings] = {
    "NAFNet": Settings(psnr_loss, _NAFNET, 256, 64),
    "Baseline": Settings(psnr_loss, _NAFNET, 256, 64),
    "PlainNet": Settings(psnr_loss, replace(_NAFNET, rate=1e-4), 256, 64),
    "Restormer": Settings(l1_loss, _RESTORMER, 128, 64, RESTORMER_STAGES),
    "MPRNet": Settings(mprnet_loss, _MPRNET, 256, 16),
    "SwinIR": Settings(l1_loss, _TRANSFORMER_SR, 48, 32),
    "HAT": Settings(l1_loss, _TRANSFORMER_SR, 64, 32),
    "EDSR": Settings(l1_loss, _halved(300_000, 1e-4, 200_000), 48, 16),
    "RCAN": Settings(l1_loss, _halved(1_000_000, 1e-4, 200_000, 400_000, 600_000, 800_000), 48, 16),
    "RRDBNet": Settings(l1_loss, _halved(1_000_000, 2e-4, 200_000, 400_000, 600_000, 800_000, ema=0.999), 32, 16),
    "SRResNet": Settings(mse_loss, Schedule(1_000_000, 1e-4, 0, 0, (0.9, 0.999), ema=0, clip=None), 24, 16),
    "SCUNet": Settings(l1_loss, _halved(1_000_000, 1e-4, 200_000, 400_000, 600_000, 800_000), 128, 24),
    "DRUNet": Settings(l1_loss, _halved(800_000, 1e-4, *range(100_000, 800_000, 100_000)), 128, 16),
}
"""By the class of the network; a Local class is trained as the one that it belongs to."""

DEFAULT = Settings(l1_loss, Schedule(300_000, 2e-4, warmup=2000, decay=1, betas=(0.9, 0.999), floor=1e-6), 64, 16)
"""For the others: L1 and a cosine, which hold up everywhere."""


def settings_of(cls: type) -> Settings:
    """The settings of a network's class."""
    return PUBLISHED.get(cls.__name__.removesuffix("Local"), DEFAULT)
