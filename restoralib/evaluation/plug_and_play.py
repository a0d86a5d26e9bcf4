"""DiffPIR with a denoiser of photographs in place of a diffusion network: deblurring where the kernel is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from restoralib.archs.spec import NetSpec
from restoralib.data import Pair
from restoralib.degradations.operators import CircularBlurOperator
from restoralib.diffusion import DDPM, Measurement, blind_denoiser, diffpir, karras, level_steps, sample
from restoralib.ops import linear_betas
from restoralib.zoo import load_bundled


@dataclass(frozen=True)
class DiffPIRDeblur:
    """Deblurring by DiffPIR (arXiv:2305.08995) from a regularised inverse, with a denoiser that is not told its level.

    The image is mirrored beyond its border, for the blur goes round there. Level, lam and zeta are those that did best of four
    settings on two crops of training photographs.

    Args:
        net: from noisy images in [0, 1] to clean ones; None takes the bundled denoiser.
        largest: the noise level at which it starts, of images in [0, 1]; the network has to know it.
        sigma: standard deviation of the noise of what is restored, of images in [0, 1]; rounding and the border count as such.
        steps: calls of the network.
        lam: weight of the network's image.
        zeta: share of the noise that is drawn anew at each step.
        seed: of the noise that is drawn.
        kernel: (k, k) with sum one, k odd; None wants to be told by the set, pair by pair.
    """

    net: Callable[[Tensor], Tensor] | None = None
    largest: float = 15 / 255
    sigma: float = 0.01
    steps: int = 8
    lam: float = 4.0
    zeta: float = 0.0
    seed: int = 0
    kernel: Tensor | None = None
    spec = NetSpec(halo=None, global_ops=("the spectrum",))

    def for_pair(self, pair: Pair) -> DiffPIRDeblur:
        """With the kernel that the set knows of the pair, where none was given."""
        if self.kernel is not None:
            return self
        kernel = getattr(pair, "kernel", None)
        if kernel is None:
            raise ValueError(f"nobody knows the kernel that blurred {pair.name}; DiffPIR has to be told one")
        return replace(self, kernel=kernel)

    def __call__(self, image: Tensor) -> Tensor:
        """Deblur (b, c, h, w).

        Raises:
            ValueError: no kernel was given or told.
        """
        if self.kernel is None:
            raise ValueError("DiffPIR needs the kernel of the blur; pass kernel")
        net = load_bundled("nafnet_denoise") if self.net is None else self.net
        border = self.kernel.shape[0]
        height, width = image.shape[-2:]
        blurred = _mirrored(image.float(), border)
        operator = CircularBlurOperator(tuple(blurred.shape[1:]), self.kernel, convolve=True)
        noise = max(self.sigma, 1e-3)
        # What the levels of the denoiser do not reach has to be sharp already.
        near = operator.prox(blurred, blurred, _NEAR)
        process = DDPM(linear_betas(1000))
        measurement = Measurement.of_images(operator, blurred, noise)
        grid = level_steps(process, karras(self.steps, 2 * self.largest, 0.03, 2.0))
        generator = torch.Generator().manual_seed(self.seed)
        draws = torch.randn(near.shape, generator=generator).to(near)
        start = process.marginal(2 * near.clamp(0, 1) - 1, torch.tensor(grid[0]), draws)
        denoise = blind_denoiser(net, process, largest=1.1 * self.largest)
        step = diffpir(process, measurement, lam=self.lam, zeta=self.zeta)
        with torch.no_grad():
            sharp = sample(denoise, start, grid, step, noise=generator)
        return ((sharp[..., border : border + height, border : border + width] + 1) / 2).clamp(0, 1).to(image)


_NEAR = 0.01
"""How much the start keeps to the blurred image against the blur's inverse."""


def _mirrored(image: Tensor, border: int) -> Tensor:
    """Images continued by their mirror image, as often as it takes."""
    while border > 0:
        once = min(border, image.shape[-2] - 1, image.shape[-1] - 1)
        if once < 1:
            return functional.pad(image, (border,) * 4, mode="replicate")
        image = functional.pad(image, (once,) * 4, mode="reflect")
        border -= once
    return image
