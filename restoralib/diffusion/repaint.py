"""RePaint: what is known is put in with the right noise after every step (Lugmayr et al., arXiv:2201.09865)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process


@dataclass
class RePaint(Unguided):
    """mask x_r + (1 - mask) q(known, r); with `sample_with_travel` it is the whole method.

    Without travel it is the inpainting of score-based SDEs (arXiv:2011.13456, appendix I.2), and for a bridge, of which both
    ends are the known image there, that of I2SB (arXiv:2302.05872).

    Args:
        process: tells how the known region is noised.
        known: the image that is known, (b, c, h, w), in the network's range.
        mask: 1 where the image is to be made, 0 where it is known, (b, 1, h, w).

    Source: arXiv:2201.09865, equation 8.
    """

    process: Process
    known: Tensor
    mask: Tensor

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The known region put in."""
        return self.mask * x_r + (1 - self.mask) * self.process.marginal(self.known, r, noise(x_r), self.known)
