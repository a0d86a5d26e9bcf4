"""Layer norms of image features, and RMS norms: over channels, at every pixel apart."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32


def channel_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Layer norm over the channels of (b, c, h, w), biased variance, `eps` inside the root.

    In channels_last memory the permutations cost nothing and torch's own fused kernel runs, whose statistics are float32
    also for half-precision input. A formula in half precision would overflow at (x - mean)^2.
    """
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, eps).permute(0, 3, 1, 2)


class LayerNorm2d(nn.Module):
    """Layer norm over channels of NAFNet (arXiv:2204.04676), eps 1e-6.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return channel_norm(x, self.weight, self.bias, self.eps)


class WithBiasLayerNorm(nn.Module):
    """Ordinary layer norm over channels of Restormer (arXiv:2111.09881), eps 1e-5.

    Weight and bias lie under `body`, as in the authors' checkpoints.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.body = LayerNorm2d(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class BiasFreeLayerNorm(nn.Module):
    """Restormer's layer norm for denoising (arXiv:2111.09881): divides by the standard deviation over channels, eps 1e-5.

    The mean is not subtracted from what is divided, though the variance is the one about the mean. The weight lies under
    `body`, as in the authors' checkpoints.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels, eps, bias=False)  # keeps the weight; its own forward would subtract the mean

    def forward(self, x: Tensor) -> Tensor:
        precise = x.to(at_least_float32(x.dtype))
        centered = precise - precise.mean(1, keepdim=True)
        variance = centered.square().mean(1, keepdim=True)  # in channels_last far faster than Tensor.var
        normed = precise * torch.rsqrt(variance + self.body.eps)
        return normed.to(x.dtype) * self.body.weight[:, None, None]


RESTORMER_NORMS: dict[str, type[nn.Module]] = {"WithBias": WithBiasLayerNorm, "BiasFree": BiasFreeLayerNorm}
"""By the values of `LayerNorm_type`, an argument of Restormer, DiffIR and PromptIR."""


class GainLayerNorm(nn.Module):
    """Layer norm over channels without a bias, eps 1e-5, of IR-SDE (arXiv:2301.11699) and Refusion.

    The gain lies under `g`, of shape (1, c, 1, 1), as in the authors' checkpoints. Their code takes 1e-3 for any type but
    float32, which changes what the published weights do; here eps is 1e-5 always.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return channel_norm(x, self.g.flatten(), None, self.eps)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the features of tokens, which runs in one kernel also under autocast.

    Torch's own leaves the fused kernel, with a warning, where weights and input differ in type. The mean is float32 there.

    Shapes: (..., d) -> (..., d).
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


class RMSNorm2d(nn.Module):
    """Root-mean-square norm over channels of DC-AE (arXiv:2410.10733), with a bias: x / sqrt(mean(x^2) + eps) * weight + bias.

    The mean is taken in float32 also for half-precision input.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        precise = x.to(at_least_float32(x.dtype))
        normed = precise * torch.rsqrt(precise.square().mean(1, keepdim=True) + self.eps)
        return torch.addcmul(self.bias[:, None, None], normed.to(x.dtype), self.weight[:, None, None])
