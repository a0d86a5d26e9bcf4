"""DPS: after every step, down the gradient of the misfit through the denoiser (Chung et al., arXiv:2209.14687)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from restoralib.diffusion.guidance import Unguided, gradient
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.noise import Noise


@dataclass
class DPS(Unguided):
    """x_r - scale d/dx_t |y - A x0(x_t)|, with the norm itself and not its square, as in the authors' code.

    The operator needs to be differentiable, not linear.

    Args:
        measurement: what the sample has to agree with.
        scale: step length; the authors have 0.3 for blur and super-resolution, 0.5 for random inpainting, 1 for phase
            retrieval.
        batch: one norm over the whole batch, which couples its images, as in the authors' code.

    Raises:
        RuntimeError: when called: no gradient passes through the denoiser.

    Source: arXiv:2209.14687, algorithm 1.
    """

    measurement: Measurement
    scale: float = 0.3
    batch: bool = False
    needs_gradient: bool = True

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The state, moved down the gradient of the misfit."""
        return x_r - self.scale * gradient(self.misfit(x0), x_t, type(self).__name__)

    def misfit(self, x0: Tensor) -> Tensor:
        """|y - A x0|, one number an image, or one in all."""
        return self.measurement.residual(x0).flatten(0 if self.batch else 1).norm(dim=-1)
