"""Convolutions whose weights are divided by their largest singular value, for discriminators."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32, without_autocast


class SpectralNormConv2d(nn.Module):
    """A convolution without bias whose weight matrix has the spectral norm one.

    Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, arXiv:1802.05957, Alg. 1. Keys are
    those of `torch.nn.utils.spectral_norm`: `weight_orig`, `weight_u` and `weight_v`. That one keeps the divided weight as an
    attribute, with which a network that has run cannot be copied; here it lives in `forward` alone.

    In training mode every forward pass improves the estimate of the singular vectors by one power iteration, v before u; in
    eval mode the stored vectors are taken as they are.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: of the convolution.
        stride: of the convolution.
        padding: zeros at each side.
        eps: least length by which a vector is divided.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h', w').
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        weight = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False).weight
        self.weight_orig = nn.Parameter(weight.detach())
        # About as long as they should be; the first pass in training mode makes them exactly so.
        for name, length in {"weight_u": out_channels, "weight_v": in_channels * kernel_size**2}.items():
            self.register_buffer(name, nn.init.normal_(torch.empty(length), std=length**-0.5))
        self.stride, self.padding, self.eps = stride, padding, eps

    def weight(self) -> Tensor:
        """The divided weight; in training mode after one power iteration."""
        dtype = at_least_float32(self.weight_orig.dtype)
        with without_autocast(self.weight_orig):
            matrix = self.weight_orig.to(dtype).flatten(1)
            u, v = self.weight_u.to(dtype), self.weight_v.to(dtype)
            if self.training:
                with torch.no_grad():
                    v = F.normalize(matrix.mT @ u, dim=0, eps=self.eps)
                    u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                    self.weight_u.copy_(u)
                    self.weight_v.copy_(v)
            sigma = u @ (matrix @ v)
            return (self.weight_orig / sigma).to(self.weight_orig.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(), None, self.stride, self.padding)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        out_channels, in_channels, kernel_size, _ = self.weight_orig.shape
        return f"{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={self.stride}, padding={self.padding}"
