"""IR-SDE: an image drifts to its degraded version while noise comes in (Luo et al., ICML 2023, arXiv:2301.11699)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restoralib.diffusion.process import SDE, Coefficients, Time, as_time, beside, index_within


class IRSDE(SDE):
    """The mean-reverting SDE dx = theta_t (y - x) dt + sigma_t dw with sigma_t^2 = 2 lambda^2 theta_t.

    a = exp(-Theta_t dt), b = 1 - a and s = lambda sqrt(1 - a^2), where Theta_t is the sum of theta from 1 to t. Times are the
    whole numbers 0 .. T; a step of one is a step of dt = -ln(eps) / Theta_T in the SDE's time, so that a = eps at the end.

    Refusion (arXiv:2304.08291) is the same process.

    Args:
        thetas: (T + 1,), from time 0 on; see `cosine_thetas` and `linear_thetas` of `restoralib.ops.schedules`.
        lam: standard deviation of the noise at the end, in units of the image in [0, 1]; the papers' 10 is 10 / 255.
        eps: what is left of the clean image at the end.

    Raises:
        ValueError: thetas are not (T + 1,) and positive, lam is not positive, or eps not between 0 and 1.

    Source: arXiv:2301.11699, equations 3 to 6; code's schedules.
    """

    uses_target = True

    def __init__(self, thetas: Tensor, lam: float, eps: float = 0.005) -> None:
        thetas = torch.as_tensor(thetas).double()
        if thetas.ndim != 1 or len(thetas) < 2 or not bool((thetas[1:] > 0).all()):
            raise ValueError(f"expected positive thetas (T + 1,) with T >= 1, got shape {tuple(thetas.shape)}")
        if not lam > 0 or not 0 < eps < 1:
            raise ValueError(f"expected lam > 0 and 0 < eps < 1, got lam {lam} and eps {eps}")
        self.thetas, self.lam, self.eps = thetas, lam, eps
        self.thetas_cumsum = thetas.cumsum(0) - thetas[0]
        self.dt = -math.log(eps) / float(self.thetas_cumsum[-1])
        self.sigmas = lam * (2 * thetas).sqrt()

    def __len__(self) -> int:
        return len(self.thetas) - 1

    def index(self, t: Time) -> Tensor:
        """A time as an index of the tables.

        Raises:
            ValueError: it is not from 0 to T.
        """
        return index_within(t, 0, len(self))

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times 0 .. T."""
        depth = torch.take(self.thetas_cumsum, self.index(t)) * self.dt
        return Coefficients((-depth).exp(), -(-depth).expm1(), self.lam * (-(-2 * depth).expm1()).sqrt())

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """theta_t dt (y - x): per step of one."""
        rate = beside(torch.take(self.thetas, self.index(t)) * self.dt, x)
        return self.of_target(rate, y) - rate * x

    def diffusion(self, t: Time) -> Tensor:
        """sigma_t sqrt(dt): per step of one."""
        return torch.take(self.sigmas, self.index(t)) * self.dt**0.5

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """The state from which sampling starts: the degraded image with noise of lambda."""
        return y + self.lam * noise

    def matching_loss(self, x_t: Tensor, x0: Tensor, predicted_x0: Tensor, t: Time, y: Tensor, power: int = 1) -> Tensor:
        """How far the network's reverse step is from the best one, as IR-SDE trains.

        The network's is the mean of Euler's step of the reverse SDE, the best is the mean of q(x_(t-1) | x_t, x0, y); at steps
        of finite length the loss of a perfect network is therefore not zero.

        Args:
            x_t: states.
            x0: the true clean images.
            predicted_x0: what the denoiser says.
            t: times from 1 on, one for all images or one for each.
            y: degraded images.
            power: 1 for the mean absolute difference, 2 for the mean square.

        Returns:
            A number.

        Source: arXiv:2301.11699, equation 14 ("maximum likelihood objective").
        """
        expected, optimum = self.matched_means(x_t, x0, predicted_x0, t, y)
        return (expected - optimum).abs().pow(power).mean()

    def matched_means(self, x_t: Tensor, x0: Tensor, predicted_x0: Tensor, t: Time, y: Tensor) -> tuple[Tensor, Tensor]:
        """The network's and the best mean of the step before t, which `matching_loss` compares."""
        time = as_time(t)
        drift = self.drift(x_t, time, y)
        score = -self.noise(x_t, predicted_x0, time, y) / self.at(time, x_t).s
        expected = x_t - drift + beside(self.diffusion(time), x_t) ** 2 * score
        return expected, self.posterior(x_t, x0, time, time - 1, y).mean
