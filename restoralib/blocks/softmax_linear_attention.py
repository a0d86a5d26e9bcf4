"""Linear attention by two softmaxes: features of queries, pixels of keys."""

from __future__ import annotations

from torch import Tensor, nn

from restoralib.blocks.norm import GainLayerNorm
from restoralib.ops.precision import at_least_float32, without_autocast


class SoftmaxLinearAttention(nn.Module):
    """Linear attention of IR-SDE's U-Net, after Shen et al., Efficient Attention, arXiv:1812.01243.

        context = softmax(k over pixels) v^T / n        out = softmax(q over features)^T context / sqrt(d)

    for n pixels and d features of a head, then a 1x1 convolution and a layer norm. The values are divided by the number of
    pixels beside the softmax, as in the authors' code. Sums over pixels are float32, or float64 for float64 input, also under
    autocast.

    Args:
        channels: channels in and out.
        heads: number of heads.
        head_dim: features of each head; heads * head_dim need not be `channels`.

    Shapes: (b, channels, h, w) -> (b, channels, h, w), any height and width.
    """

    def __init__(self, channels: int, heads: int = 4, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.scale = head_dim**-0.5
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * head_dim, channels, 1), GainLayerNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        q, k, v = self.to_qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)  # (b, heads, d, n) each
        with without_autocast(x):
            dtype = at_least_float32(x.dtype)
            context = k.softmax(-1, dtype) @ v.mT.to(dtype) * (self.scale / (height * width))
            out = (context.mT @ q.softmax(-2, dtype)).to(q.dtype)
        return self.to_out(out.flatten(1, 2).unflatten(2, (height, width)))
