"""DDPM: noise added in small steps, whose training times are whole numbers (Ho et al., arXiv:2006.11239)."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.diffusion.process import Coefficients, Process, Time, index_within


class DDPM(Process):
    """The discrete process that keeps the variance: a = sqrt(alpha_bar), s = sqrt(1 - alpha_bar), alpha_bar = prod (1 - beta).

    Its times are the indices 0 .. T-1 of the training steps, and -1 for the clean image. A grid may leave steps out: the
    reverse step between any two indices has the right beta by itself.

    Args:
        betas: variances of the steps, (T,), rising in time; see `restoralib.ops.schedules`.

    Raises:
        ValueError: betas are not (T,), or not in (0, 1]; when called, a time is not an index.

    Source: arXiv:2006.11239, equations 4 to 7; with steps left out arXiv:2102.09672, section 4.
    """

    def __init__(self, betas: Tensor) -> None:
        betas = torch.as_tensor(betas).double()
        if betas.ndim != 1 or len(betas) == 0 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(f"expected variances (T,) in (0, 1], got shape {tuple(betas.shape)}, {betas.tolist()[:4]} ...")
        self.betas = betas
        self.alphas_cumprod = (1 - betas).cumprod(0)
        self._alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod])

    def __len__(self) -> int:
        return len(self.betas)

    def nearest(self, level: float) -> int:
        """The index at which the noise level s / a is nearest to a given one."""
        ratio = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        return int((ratio - level).abs().argmin())

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at training indices, -1 being the clean image."""
        alpha_bar = torch.take(self._alpha_bar, index_within(t, -1, len(self) - 1) + 1)
        return Coefficients(alpha_bar.sqrt(), torch.zeros_like(alpha_bar), (1 - alpha_bar).sqrt())
