"""EDM's form of a network, for any process: input, target and loss of unit variance (arXiv:2206.00364, arXiv:2309.16948)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser, check_output
from restoralib.diffusion.edm import EDM
from restoralib.diffusion.process import Process, as_time, beside


class BridgeForm:
    """EDM's form of a network for a bridge, for data of known second moments.

    x0 = c_skip x + c_out net(c_in x, ln(t) / 4). For a process without y it is EDM's own form.

    Args:
        process: any with (M).
        sigma_data: standard deviation of the clean images.
        sigma_target: that of the degraded ones.
        covariance: between the two.

    Raises:
        ValueError: there are no such images: a standard deviation is not positive, or the covariance is larger than both allow.

    Source: arXiv:2309.16948, the bridge's scaling functions; for no y arXiv:2206.00364, table 1.
    """

    def __init__(
        self, process: Process, *, sigma_data: float = 0.5, sigma_target: float = 0.5, covariance: float = 0.0
    ) -> None:
        if not (sigma_data > 0 and sigma_target > 0 and abs(covariance) <= sigma_data * sigma_target):
            raise ValueError(
                f"expected positive standard deviations and no larger covariance than their product, got {sigma_data}, "
                f"{sigma_target} and {covariance}"
            )
        self.process = process
        self.sigma_data, self.sigma_target, self.covariance = sigma_data, sigma_target, covariance

    def scalings(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in at times, float64."""
        a, b, s = self.process.coefficients(t)
        clean, degraded, both = self.sigma_data**2, self.sigma_target**2, self.covariance
        total = a**2 * clean + b**2 * degraded + 2 * a * b * both + s**2
        out = (b**2 * (clean * degraded - both**2) + s**2 * clean) / total
        return (a * clean + b * both) / total, out.sqrt(), total.rsqrt()

    def denoiser(self, net: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
        """A network of this form as a denoiser; `net(x, label)` is bound to its condition, y.

        Raises:
            ValueError: when called, the network gives another shape.
            RuntimeError: when called, the network gives values that are not finite.
        """

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            times = as_time(t).expand(x.shape[0])
            skip, out, scale = (beside(value, x) for value in self.scalings(times))
            value = check_output(net(scale * x, (times.log() / 4).to(x)), x, t, x.shape[1])
            return Denoised(skip * x + out * value)

        return denoise

    def weight(self, process: Process, t: Tensor) -> Tensor:
        """1 / c_out^2: the loss of the network's own output, at every time alike."""
        return 1 / self.scalings(t)[1] ** 2


def preconditioned(net: Callable[[Tensor, Tensor], Tensor], sigma_data: float = 0.5) -> Denoiser:
    """A network that was trained in EDM's form, as a denoiser.

    x0 = c_skip x + c_out net(c_in x, ln(sigma) / 4), all of unit variance for images of standard deviation sigma_data.

    Args:
        net: `net(x, label)`, (b, c, h, w) and (b,).
        sigma_data: standard deviation of the clean images.

    Source: arXiv:2206.00364, table 1.
    """
    return BridgeForm(EDM(), sigma_data=sigma_data).denoiser(net)
