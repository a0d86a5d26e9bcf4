"""How the authors of networks trained them: losses, learning rates, patches and batches, as a table by class.

Figures are those of the papers and of the authors' code, as the comments tell; what is there "from memory" was not checked
against either. A network that is not in the table is trained as `DEFAULT` says. Batches are those of all devices together.
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


def _halved(steps: int, rate: float, *milestones: int, beta: float = 0.999, ema: float = 0.0) -> Schedule:
    """Adam whose rate is halved at some steps."""
    return Schedule(steps, rate, warmup=0, decay=0, betas=(0.9, beta), milestones=milestones, ema=ema, clip=None)


# NAFNet (arXiv:2204.04676): GoPro's and REDS's settings of width 64, options/train in the authors' code, 8 devices with 8
# each; SIDD's differ by no weight decay, and runs of width 32 are half as long with half the batch. The code clips by default.
_NAFNET = Schedule(400_000, 1e-3, warmup=0, decay=1, betas=(0.9, 0.9), weight_decay=1e-3, ema=0, floor=1e-7, clip=0.01)
# Restormer (arXiv:2111.09881): 92,000 steps at the full rate, then one cosine; the patches grow. Clipping: the authors' code.
_RESTORMER = Schedule(
    300_000, 3e-4, warmup=0, decay=208 / 300, betas=(0.9, 0.999), weight_decay=1e-4, ema=0, floor=1e-6, clip=0.01
)
# MPRNet (arXiv:2102.02808) on GoPro: 3000 epochs of 131 steps, three of them to warm up (Deblurring/training.yml).
_MPRNET = Schedule(394_000, 2e-4, warmup=400, decay=1, betas=(0.9, 0.999), ema=0, floor=1e-6, clip=None)
_LATE = (250_000, 400_000, 450_000, 475_000)
_EVERY_200 = (200_000, 400_000, 600_000, 800_000)

PUBLISHED: Mapping[str, Settings] = {
    "NAFNet": Settings(psnr_loss, _NAFNET, 256, 64),
    "Baseline": Settings(psnr_loss, _NAFNET, 256, 64),
    # A tenth of the rate, with which alone it is stable (the same paper, table 1).
    "PlainNet": Settings(psnr_loss, replace(_NAFNET, rate=1e-4), 256, 64),
    "Restormer": Settings(l1_loss, _RESTORMER, 128, 64, RESTORMER_STAGES),
    "MPRNet": Settings(mprnet_loss, _MPRNET, 256, 16),
    # DehazeFormer (arXiv:2204.03883), its base size: 300 epochs of the 13,990 indoor pairs of RESIDE. The floor is a hundredth
    # of the rate in the authors' train.py, whose AdamW has torch's weight decay.
    "DehazeFormer": Settings(
        l1_loss,
        Schedule(262_200, 2e-4, warmup=0, decay=1, betas=(0.9, 0.999), weight_decay=0.01, ema=0, floor=2e-6, clip=None),
        256,
        16,
    ),
    # SwinIR (arXiv:2108.10257): train_swinir_sr_classical.json of the authors' KAIR, whose Adam has torch's momenta.
    "SwinIR": Settings(l1_loss, _halved(500_000, 2e-4, *_LATE, ema=0.999), 48, 32),
    # HAT (arXiv:2205.04437): train_HAT_SRx2_from_scratch.yml, 8 devices with 4 each.
    "HAT": Settings(l1_loss, _halved(500_000, 2e-4, *_LATE, beta=0.99, ema=0.999), 64, 32),
    # EDSR (arXiv:1707.02921), section 4.2; its length is that of the authors' option.py, 300 rounds of 1000 steps.
    "EDSR": Settings(l1_loss, _halved(300_000, 1e-4, 200_000), 48, 16),
    # RCAN (arXiv:1807.02758), section 4.1; its length is that of the authors' option.py, 1000 rounds of 1000 steps.
    "RCAN": Settings(l1_loss, _halved(1_000_000, 1e-4, *_EVERY_200), 48, 16),
    # ESRGAN (arXiv:1809.00219), section 4.1, the first stage; BasicSR's file of later has cosines in place of the halves.
    "RRDBNet": Settings(l1_loss, _halved(1_000_000, 2e-4, *_EVERY_200), 32, 16),
    # SRGAN (arXiv:1609.04802), section 3.2.
    "SRResNet": Settings(mse_loss, Schedule(1_000_000, 1e-4, 0, 0, (0.9, 0.999), ema=0, clip=None), 24, 16),
    # SCUNet (arXiv:2203.13278) for Gaussian noise, from memory of its section 5.1: halved every 200,000 steps to 3.125e-6.
    "SCUNet": Settings(l1_loss, _halved(1_200_000, 1e-4, *_EVERY_200, 1_000_000), 128, 24),
    # DRUNet (arXiv:2008.13751), from memory of its section 3.2: halved every 100,000 steps until it is below 5e-7. The later
    # train_drunet.json of KAIR has batches of 64 and half as many milestones.
    "DRUNet": Settings(l1_loss, _halved(800_000, 1e-4, *range(100_000, 800_000, 100_000)), 128, 16),
}
"""By the class of the network; a Local class is trained as the one that it belongs to."""

DEFAULT = Settings(l1_loss, Schedule(300_000, 2e-4, warmup=2000, decay=1, betas=(0.9, 0.999), floor=1e-6), 64, 16)
"""For the others: L1 and a cosine, which hold up everywhere."""


def settings_of(cls: type) -> Settings:
    """The settings of a network's class."""
    return PUBLISHED.get(cls.__name__.removesuffix("Local"), DEFAULT)
