"""Noise2Noise: a network learns to denoise from pairs of noisy images, without a clean one."""

from torch import Tensor

from restoralib.losses._inputs import check_pair


def noise2noise_loss(restored: Tensor, other: Tensor, *, exponent: float = 2.0, eps: float = 1e-8) -> Tensor:
    """Mean of (|d| + eps)^exponent, where d is the difference from another noisy image of the same scene.

    Whoever predicts what cannot be predicted, the other image's noise, does best with its mean for the exponent 2, with its
    median for 1 and with its most frequent value near 0. So 2 is for noise without bias such as Gaussian and Poisson noise, 1
    for what covers less than half of the pixels, text for example, and for impulses that leave most pixels alone the paper lets
    the exponent fall from 2 to 0 in the course of the training.

    Args:
        restored: the network's result for one noisy image, of any shape, usually (b, c, h, w); not clamped, for that biases it.
        other: another noisy image of the same scene, whose noise does not depend on the first's.
        exponent: above 0.
        eps: keeps the gradient finite where the exponent is below 1.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, or the exponent is not above 0.

    Source: Lehtinen et al. 2018, arXiv:1803.04189, equation 6 and section 3.
    """
    if not exponent > 0:
        raise ValueError(f"exponent should be above 0, got {exponent}; 2 is for noise without bias")
    restored, other = check_pair(restored, other)
    difference = restored - other
    return difference.square().mean() if exponent == 2 else (difference.abs() + eps).pow(exponent).mean()
