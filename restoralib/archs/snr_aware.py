"""SNR-Aware: low-light enhancement by convolutions where the signal is good, and by attention where noise prevails.

Xu et al., SNR-Aware Low-Light Image Enhancement, CVPR 2022. The authors' checkpoints load unchanged. Images are RGB in [0, 1]
of any size; the result is not clamped. The map of the signal-to-noise ratio that guides the network is computed inside, unless
the caller brings one.

Attention works on patches of 16x16 pixels. As in the authors' code, rows and columns beyond the last whole patch get nothing
from it, which changes the border of a dark image: `pad_multiple=16` fills the patches by reflection instead, also as
`load_model(path, pad_multiple=16)`. The authors' own tests on LOL resize the image and its map bilinearly, to 400x608 (384x384
for the synthetic set), and the result back.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.residual import ResidualBlock
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import at_least_float32, without_autocast

_GREY = (0.299, 0.587, 0.114)
_PATCH = 4  # side of a token on the map of a quarter of the size
_WIDTH, _HEADS, _HEAD_WIDTH, _HIDDEN = 1024, 8, 64, 2048


def snr_map(image: Tensor) -> Tensor:
    """The signal-to-noise ratio of every pixel, by taking a blurred image for signal and what it lost for noise.

    With the grey values g of the image and s of its 5x5 box blur, s / (|g - s| + 1e-4), divided by its maximum over the image
    (plus 1e-4) and cut to [0, 1]. Half precision is computed, and given back, in float32. Xu et al., CVPR 2022, sec. 3.2.

    Shapes: (b, 3, h, w) in [0, 1] -> (b, 1, h, w) in [0, 1], any height and width.

    Raises:
        ValueError: the image has not three channels.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"snr_map expects RGB images (b, 3, h, w), got shape {tuple(image.shape)}")
    with without_autocast(image):
        image = image.to(at_least_float32(image.dtype))
        red, green, blue = (weight * channel for weight, channel in zip(_GREY, image.chunk(3, 1), strict=True))
        grey = red + green + blue  # of the blurred image, too: both are sums
        blurred = F.avg_pool2d(_mirror(_mirror(grey, 2, -2), 2, -1), 5, stride=1)
        ratio = blurred / ((grey - blurred).abs() + 1e-4)
        return (ratio / (ratio.amax((1, 2, 3), keepdim=True) + 1e-4)).clamp(0, 1)


def _mirror(x: Tensor, margin: int, axis: int) -> Tensor:
    """Extend an axis at both ends, mirrored about its first and its last pixel; again and again where it is shorter."""
    length = x.shape[axis]
    period = max(2 * (length - 1), 1)
    positions = torch.arange(-margin, length + margin, device=x.device).abs() % period
    return x.index_select(axis, torch.minimum(positions, period - positions))


class MultiHeadAttention(nn.Module):
    """Attention to the tokens with signal alone, behind a layer norm and added to the input (eq. 4).

    Shapes: tokens (b, n, 1024), keys to be seen (b, n) -> (b, n, 1024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.w_qs = nn.Linear(_WIDTH, _HEADS * _HEAD_WIDTH, bias=False)
        self.w_ks = nn.Linear(_WIDTH, _HEADS * _HEAD_WIDTH, bias=False)
        self.w_vs = nn.Linear(_WIDTH, _HEADS * _HEAD_WIDTH, bias=False)
        self.fc = nn.Linear(_HEADS * _HEAD_WIDTH, _WIDTH, bias=False)
        self.layer_norm = nn.LayerNorm(_WIDTH, eps=1e-6)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        x = self.layer_norm(tokens)
        q, k, v = (
            rearrange(linear(x), "b n (heads d) -> b heads n d", heads=_HEADS) for linear in (self.w_qs, self.w_ks, self.w_vs)
        )
        # Where no token has signal, all count alike: with queries of zero every score is the same.
        any_seen = seen.any(-1, keepdim=True)
        q = torch.where(any_seen[:, None, None], q, torch.zeros_like(q))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(seen | ~any_seen)[:, None, None])
        return tokens + self.fc(rearrange(mixed, "b heads n d -> b n (heads d)"))


class FeedForward(nn.Module):
    """Two linear layers with ReLU between, behind a layer norm and added to the input.

    Shapes: (b, n, 1024) -> (b, n, 1024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.w_1 = nn.Linear(_WIDTH, _HIDDEN)
        self.w_2 = nn.Linear(_HIDDEN, _WIDTH)
        self.layer_norm = nn.LayerNorm(_WIDTH, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.w_2(self.w_1(self.layer_norm(tokens)).relu())


class TransformerLayer(nn.Module):
    """Attention and feed-forward.

    Shapes: tokens (b, n, 1024), keys to be seen (b, n) -> (b, n, 1024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.slf_attn = MultiHeadAttention()
        self.pos_ffn = FeedForward()

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        attended: Tensor = self.pos_ffn(self.slf_attn(tokens, seen))
        return attended


class Transformer(nn.Module):
    """The long-range branch: six layers over the 4x4 patches of a feature map.

    Rows and columns beyond the last whole patch come out as zeros. A patch is seen by others where the mean of its map is above
    one half.

    Shapes: features (b, 64, h, w), map (b, 1, h, w) -> (b, 64, h, w); h and w of at least 4.
    """

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.layer_stack = nn.ModuleList(TransformerLayer() for _ in range(depth))

    def forward(self, x: Tensor, ratio: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = height // _PATCH, width // _PATCH
        whole = x[..., : rows * _PATCH, : columns * _PATCH]
        tokens = rearrange(whole, "b c (row p) (column q) -> b (row column) (c p q)", p=_PATCH, q=_PATCH)
        seen = F.avg_pool2d(ratio, _PATCH).flatten(1) > 0.5
        for layer in self.layer_stack:
            tokens = layer(tokens, seen)
        sizes = {"row": rows, "column": columns, "p": _PATCH, "q": _PATCH}
        attended = rearrange(tokens, "b (row column) (c p q) -> b c (row p) (column q)", **sizes)
        return F.pad(attended, (0, width - columns * _PATCH, 0, height - rows * _PATCH))


def _residual_blocks(depth: int) -> nn.Sequential:
    blocks = nn.Sequential(*(ResidualBlock(64) for _ in range(depth)))
    with torch.no_grad():
        for layer in blocks.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight).mul_(0.1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return blocks


class SNRAware(nn.Module):
    """The network of Fig. 3, with the authors' constructor arguments and state-dict keys.

    The defaults are the arguments of all published weights. Of the authors' arguments only `front_RBs` and `back_RBs` make a
    difference; the others are taken so that their configurations carry over.

    Args:
        nf: width of the net; the transformer has room for 64 alone.
        nframes: without effect.
        groups: without effect.
        front_RBs: residual blocks in front of the two branches.
        back_RBs: residual blocks behind them.
        center: without effect.
        predeblur: without effect.
        HR_in: the features are those of a quarter of the size; the authors' forward knows no other.
        w_TSA: without effect.
        pad_multiple: 4, or 16 so that attention reaches the border of every image (it is not the authors'). Sides that are no
            multiple, or shorter than 16, are padded inside by reflection, after the map was computed.

    Shapes: image (b, 3, h, w), map (b, 1, h, w) -> (b, 3, h, w), any height and width.

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self,
        nf: int = 64,
        nframes: int = 5,
        groups: int = 8,
        front_RBs: int = 1,
        back_RBs: int = 1,
        center: int | None = None,
        predeblur: bool = True,
        HR_in: bool = True,
        w_TSA: bool = True,
        pad_multiple: int = 4,
    ) -> None:
        super().__init__()
        if nf != 64:
            raise ValueError(f"nf should be 64, got {nf}: the transformer's tokens are patches of 4x4 pixels with 64 channels")
        if not HR_in:
            raise ValueError("HR_in should be True: the network has no path for images that are a quarter of the size already")
        for name, depth in {"front_RBs": front_RBs, "back_RBs": back_RBs}.items():
            if not isinstance(depth, int) or depth < 0:
                raise ValueError(f"{name} should be a whole number of at least 0, got {depth!r}")
        if pad_multiple not in (4, 16):
            raise ValueError(f"pad_multiple should be 4, as the authors have it, or 16 for whole patches, got {pad_multiple}")
        self.pad_multiple = pad_multiple
        self.conv_first_1 = nn.Conv2d(3, nf, 3, padding=1)
        self.conv_first_2 = nn.Conv2d(nf, nf, 3, stride=2, padding=1)
        self.conv_first_3 = nn.Conv2d(nf, nf, 3, stride=2, padding=1)
        self.feature_extraction = _residual_blocks(front_RBs)
        self.recon_trunk = _residual_blocks(back_RBs)
        self.upconv1 = nn.Conv2d(2 * nf, 4 * nf, 3, padding=1)
        self.upconv2 = nn.Conv2d(2 * nf, 4 * nf, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.HRconv = nn.Conv2d(2 * nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, 3, 3, padding=1)
        self.lrelu = nn.LeakyReLU(0.1)
        self.transformer = Transformer()
        self.recon_trunk_light = _residual_blocks(6)
        self.spec = spec(front_RBs=front_RBs, back_RBs=back_RBs)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Enhance an image.

        Args:
            image: (b, 3, h, w) in [0, 1].
            mask: its map of the signal-to-noise ratio, (b, 1, h, w) in [0, 1]; None for `snr_map(image)`.

        Returns:
            (b, 3, h, w), not clamped.

        Raises:
            ValueError: the map has another shape.
        """
        batch, _, height, width = image.shape
        if mask is None:
            mask = snr_map(image)
        elif mask.shape != (batch, 1, height, width):
            raise ValueError(f"mask should be of shape {(batch, 1, height, width)}, one map an image, got {tuple(mask.shape)}")
        image, mask = self._pad(image), self._pad(mask)

        full = self.lrelu(self.conv_first_1(image))
        half = self.lrelu(self.conv_first_2(full))
        quarter = self.lrelu(self.conv_first_3(half))
        x = self.feature_extraction(quarter)
        ratio = mask[..., ::4, ::4]  # its nearest values on the map of a quarter of the size
        short, long = self.recon_trunk_light(x), self.transformer(x, ratio)
        ratio = ratio.to(x.dtype)
        x = self.recon_trunk(long * (1 - ratio) + short * ratio)
        x = self.lrelu(self.pixel_shuffle(self.upconv1(torch.cat((x, quarter), 1))))
        x = self.lrelu(self.pixel_shuffle(self.upconv2(torch.cat((x, half), 1))))
        x = self.lrelu(self.HRconv(torch.cat((x, full), 1)))
        enhanced: Tensor = self.conv_last(x) + image
        return enhanced[..., :height, :width]

    def _pad(self, x: Tensor) -> Tensor:
        """Whole multiples of `pad_multiple`, and of the patch where a side is shorter than that."""
        height, width = (self.pad_multiple if side >= 16 else 16 for side in x.shape[-2:])
        return pad_to_multiple(x, (height, width))


_PUBLISHED = {
    **{"nf": 64, "nframes": 5, "groups": 8, "front_RBs": 1, "back_RBs": 1},
    **{"center": None, "predeblur": True, "HR_in": True, "w_TSA": True},
}
_SETS = ("lolv1", "lolv2_real", "lolv2_synthetic", "sid", "smid", "sdsd_indoor", "sdsd_outdoor")

VARIANTS: dict[str, Variant] = {f"snr_aware_{data}": Variant(SNRAware, _PUBLISHED, ("low_light",)) for data in _SETS}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `SNRAware(**config)`."""
    return NetSpec(
        multiple=16,
        halo=None,
        global_ops=("maximum of the SNR map", "attention"),
        tasks=("low_light",) if config.get("front_RBs", 1) == config.get("back_RBs", 1) == 1 else (),
        unrecorded=("nframes", "groups", "center", "predeblur", "w_TSA", "pad_multiple"),
    )


_KEY = re.compile(
    r"(conv_first_[123]|upconv[12]|HRconv|conv_last)\.(weight|bias)"
    r"|(feature_extraction|recon_trunk)\.\d+\.conv[12]\.(weight|bias)"
    r"|recon_trunk_light\.[0-5]\.conv[12]\.(weight|bias)"
    r"|transformer\.layer_stack\.[0-5]\.(slf_attn\.((w_qs|w_ks|w_vs|fc)\.weight|layer_norm\.(weight|bias))"
    r"|pos_ffn\.(w_1|w_2|layer_norm)\.(weight|bias))"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """How many residual blocks there are; everything else is fixed. None for the weights of any other network."""
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    fixed = {
        "conv_first_1.weight": (64, 3, 3, 3),
        "conv_first_3.weight": (64, 64, 3, 3),
        "conv_last.weight": (3, 64, 3, 3),
        "recon_trunk_light.5.conv2.weight": (64, 64, 3, 3),
        "transformer.layer_stack.5.slf_attn.fc.weight": (1024, 512),
    }
    if any(key not in state_dict or tuple(state_dict[key].shape) != shape for key, shape in fixed.items()):
        return None
    front_RBs, back_RBs = (
        sum(key.startswith(f"{trunk}.") and key.endswith("conv1.weight") for key in state_dict)
        for trunk in ("feature_extraction", "recon_trunk")
    )
    return Inferred(SNRAware, {"nf": 64, "front_RBs": front_RBs, "back_RBs": back_RBs, "HR_in": True})
