"""Denoising without weights: a small network is trained on the very image that it restores.

`restore(image, "zero_shot_denoise")`, or by a method's name, "zs_n2n" or "deep_image_prior". The work does not depend on the
size of the image for the first, and is so much a pixel for the second. Both know nothing of photographs, so that a trained
denoiser, where there is one for the noise at hand, does better.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.losses.zs_n2n import zs_n2n_loss
from restoralib.ops.pad import pad_to_multiple
from restoralib.restoration.run import seeded

SMALLEST = 8
"""Images less high or wide than this hold too little to learn from and come back as they were."""


class ResidualDenoiser(nn.Module):
    """Zero-Shot Noise2Noise's network: the image less what two 3x3 and one 1x1 convolution call its noise.

    Shapes: (b, c, h, w) -> the same.

    Mansour and Heckel 2023, arXiv:2303.11253.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 1),
        )
        self.spec = NetSpec(in_channels=channels, out_channels=channels, halo=2)

    def forward(self, image: Tensor) -> Tensor:
        return image - self.noise(image)


class Unchanged(nn.Module):
    """Gives images back as they are."""

    spec = NetSpec()

    def forward(self, image: Tensor) -> Tensor:
        return image


@dataclass(frozen=True)
class ZeroShotN2N:
    """Zero-Shot Noise2Noise, for noise that is independent from pixel to pixel and without bias.

    The network learns from the means of the diagonals of 2x2 pixels, which show the same but for their noise. It is trained on
    pieces of the image, whose number is fixed, and then restores all of it.

    Args:
        steps: of Adam.
        rate: learning rate, which rises over the first tenth and falls to 0 along a cosine.
        side: of the square pieces.

    Source: arXiv:2303.11253, which trains on the whole image for some 2000 steps.
    """

    steps: int = 800
    rate: float = 5e-3
    side: int = 48

    def fit(self, image: Tensor, device: torch.device | str, seed: int) -> ResidualDenoiser | Unchanged:
        """Train a network on images of one kind of noise.

        Args:
            image: (b, c, h, w).
            device: where to train.
            seed: of the first weights and of the pieces.

        Returns:
            The network, in eval mode; for images that are too small one that leaves them alone.
        """
        height, width = image.shape[-2:]
        if _too_small(height, width):
            return Unchanged()
        generator = torch.Generator().manual_seed(seed)
        with _trainable():
            with seeded(seed, torch.device("cpu")):
                net = ResidualDenoiser(image.shape[1])
            net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            optimizer = torch.optim.Adam(net.parameters())
            for step in range(self.steps):
                top = int(torch.randint(max(height - self.side, 0) + 1, (), generator=generator))
                left = int(torch.randint(max(width - self.side, 0) + 1, (), generator=generator))
                piece = image[step % len(image), :, top : top + self.side, left : left + self.side][None].float()
                piece = piece.to(device, memory_format=torch.channels_last, copy=True)
                rate = self.rate * min(10 * (step + 1) / self.steps, (1 + math.cos(math.pi * step / self.steps)) / 2)
                _descend(optimizer, zs_n2n_loss(net.noise, piece), rate)
        return net.eval().requires_grad_(False)

    def __call__(self, image: Tensor) -> Tensor:
        """Restore (b, c, h, w) by a network of their own; its seed comes from torch's own generator."""
        return self.fit(image, image.device, draw_seed())(image)


class Hourglass(nn.Module):
    """Deep image prior's network in a small form: noise goes down by strides of 2 and up again, with narrow skips.

    Shapes: (1, features, h, w), sides multiples of 2^depth -> (1, channels, h, w) in (0, 1).

    Ulyanov et al. 2018, arXiv:1711.10925, whose networks are wider and deeper.
    """

    def __init__(self, features: int, channels: int, *, width: int = 32, skip: int = 4, depth: int = 3) -> None:
        super().__init__()
        inputs = [features, *(width for _ in range(depth))]
        self.down = nn.ModuleList(
            nn.Sequential(_conv(before, width, stride=2), _conv(width, width)) for before in inputs[:depth]
        )
        self.skip = nn.ModuleList(_conv(before, skip, kernel=1) for before in inputs[:depth])
        self.up = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(width + skip), _conv(width + skip, width)) for _ in range(depth))
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(x))
            x = down(x)
        for up, beside in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear"), beside], 1))
        return torch.sigmoid(self.last(x))


@dataclass(frozen=True)
class DeepImagePrior:
    """Deep image prior: a network that paints the image from fixed noise, stopped before it has learned the image's own noise.

    Every tile is learned by itself. The mean over the last paintings is the result.

    Args:
        steps: of Adam; with more, more of the noise comes back.
        rate: learning rate.
        jitter: standard deviation of what is added to the fixed noise at each step, which is uniform from 0 to 0.1.
        average: decay of the mean of the paintings.

    Source: arXiv:1711.10925, section 3; noise-jitter and mean as in the authors' code.
    """

    steps: int = 500
    rate: float = 1e-2
    jitter: float = 1 / 30
    average: float = 0.98

    @property
    def spec(self) -> NetSpec:
        """Colour images, of which every pixel depends on all."""
        return NetSpec(multiple=8, halo=None, global_ops=("training",))

    def __call__(self, image: Tensor) -> Tensor:
        """Restore (b, c, h, w), each image by itself; first weights and noise come from torch's own generator."""
        height, width = image.shape[-2:]
        if _too_small(height, width):
            return image
        return torch.cat([self._paint(one) for one in image.split(1)])  # type: ignore[no-untyped-call]

    def _paint(self, image: Tensor) -> Tensor:
        seed = draw_seed()
        generator = torch.Generator().manual_seed(seed)
        height, width = image.shape[-2:]
        with _trainable():
            with seeded(seed, torch.device("cpu")):
                net = Hourglass(32, image.shape[1])
            wanted = pad_to_multiple(image.float(), 8).clone(memory_format=torch.channels_last)
            net = net.to(image.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            start = 0.1 * torch.rand(1, 32, *wanted.shape[-2:], generator=generator)
            optimizer, mean = torch.optim.Adam(net.parameters()), torch.zeros_like(wanted)
            for step in range(self.steps):
                noise = start + self.jitter * torch.randn(start.shape, generator=generator)
                painted = net(noise.to(image.device, memory_format=torch.channels_last))
                # What lies beyond the image is not compared.
                loss = F.mse_loss(painted[..., :height, :width], wanted[..., :height, :width])
                _descend(optimizer, loss, self.rate)
                mean.lerp_(painted.detach(), 1 - min(self.average, step / (step + 1)))
        return mean[..., :height, :width].to(image.dtype)


METHODS: Mapping[str, ZeroShotN2N | DeepImagePrior] = {
    "zero_shot_denoise": ZeroShotN2N(),
    "zs_n2n": ZeroShotN2N(),
    "deep_image_prior": DeepImagePrior(),
}
"""What `restore` runs by a name; the first is the task, and takes the method that does better for less."""


def draw_seed() -> int:
    """A seed from the caller's generator."""
    return int(torch.randint(2**62, ()))


def _too_small(height: int, width: int) -> bool:
    if min(height, width) >= SMALLEST:
        return False
    warnings.warn(
        f"{height}x{width} pixels hold too little to learn from and come back as they were; a side should have {SMALLEST}",
        stacklevel=3,
    )
    return True


@contextmanager
def _trainable() -> Iterator[None]:
    """A context in which gradients are kept and nothing is computed in half precision, whatever the caller has set."""
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _conv(channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect" if kernel > 1 else "zeros")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2))


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step of an optimizer at a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
