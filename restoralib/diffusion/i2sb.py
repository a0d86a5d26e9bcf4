"""I2SB: a Brownian bridge between the clean and the degraded image (Liu et al., arXiv:2302.05872)."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.diffusion.process import Coefficients, Gaussian, Process, Time, index_within


class I2SB(Process):
    """The image-to-image Schrödinger bridge of a schedule of noise.

    a = sb^2 / (sf^2 + sb^2), b = 1 - a and s = sf sb / sqrt(sf^2 + sb^2), where sf^2 is the sum of the betas up to a time and
    sb^2 that from it on, its own beta in both, as in the authors' code: the ends are soft, s is about 0.01 there. Times are
    indices 0 .. N - 1; sampling starts at y itself and ends at 0.

    Args:
        betas: (N,); see `mirrored_betas`.

    Raises:
        ValueError: betas are not (N,) and positive; when called, a time is not an index.

    Source: arXiv:2302.05872, proposition 3.3.
    """

    uses_target = True

    def __init__(self, betas: Tensor) -> None:
        betas = torch.as_tensor(betas).double()
        if betas.ndim != 1 or len(betas) < 2 or not bool((betas > 0).all()):
            raise ValueError(f"expected positive betas (N,) with N >= 2, got shape {tuple(betas.shape)}")
        self.betas = betas
        self.std_fwd = betas.cumsum(0).sqrt()
        self.std_bwd = betas.flip(0).cumsum(0).flip(0).sqrt()

    def __len__(self) -> int:
        return len(self.betas)

    def _index(self, t: Time) -> Tensor:
        return index_within(t, 0, len(self) - 1)

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at indices 0 .. N - 1."""
        index = self._index(t)
        forward, backward = torch.take(self.std_fwd, index) ** 2, torch.take(self.std_bwd, index) ** 2
        whole = forward + backward
        return Coefficients(backward / whole, forward / whole, (forward * backward / whole).sqrt())

    def posterior(self, x_t: Tensor, x0: Tensor, t: Time, r: Time, y: Tensor | None = None) -> Gaussian:
        """Where the state was at an earlier index, from the forward noise alone; without noise at 0, as in the authors' code.

        With q = sf_r^2 and d = sf_t^2 - q, its mean is (d x0 + q x_t) / (q + d) and its variance q d / (q + d).
        """
        past, now = torch.take(self.std_fwd, self._index(r)) ** 2, torch.take(self.std_fwd, self._index(t)) ** 2
        std = (past * (now - past) / now).sqrt() * (self._index(r) > 0)
        return Gaussian((now - past) / now * x0 + past / now * x_t, std)

    def label(self, x_t: Tensor, x0: Tensor, t: Time) -> Tensor:
        """What the authors' networks are trained to give: (x_t - x0) / sf_t. (Equation 12.)"""
        return (x_t - x0) / self._forward(t, x_t)

    def clean_from_label(self, x_t: Tensor, label: Tensor, t: Time) -> Tensor:
        """The clean image that a network's label means."""
        return x_t - self._forward(t, x_t) * label

    def network_time(self, t: Time) -> Tensor:
        """What the authors' networks are told of an index: evenly from 1e-4 N to N."""
        return torch.take(torch.linspace(1e-4, 1, len(self), dtype=torch.float64), self._index(t)) * len(self)

    def _forward(self, t: Time, x: Tensor) -> Tensor:
        std = torch.take(self.std_fwd, self._index(t))
        return std if std.ndim == 0 else std.to(x).view(-1, 1, 1, 1)
