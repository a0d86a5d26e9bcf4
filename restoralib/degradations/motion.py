"""Motion blur: light gathered while camera or scene move.

Averages of successive frames in linear light, as GoPro's pairs were made (Nah, Kim and Lee, CVPR 2017), and kernels of a
shaking hand as random walks with inertia (after Boracchi and Foi, TIP 2012, as DeblurGAN does, Kupyn et al., CVPR 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import axes, from_light, sample, splat, to_light
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, integer, seeded, uniform
from restoralib.degradations.filters import filter2d
from restoralib.ops.precision import full_precision


def frame_average(frames: Iterable[Tensor], gamma: float = 2.2) -> Tensor:
    """The exposure that covers some frames: their mean in linear light, (mean S^gamma)^(1 / gamma).

    Args:
        frames: of equal shapes, values not negative; read one at a time.
        gamma: of the frames; 1 averages the values as they are.

    Raises:
        ValueError: there is no frame.
    """
    total, count, dtype = None, 0, None
    for frame in frames:
        light = to_light(full_precision(frame), gamma)
        total, count, dtype = (light if total is None else total + light), count + 1, frame.dtype
    if total is None:
        raise ValueError("frame_average expects at least one frame")
    return from_light(total / count, gamma).to(dtype)


def shake_trajectory(
    generator: torch.Generator, *, steps: int = 512, jerk: float = 0.005, inertia: float = 0.7, impulse: float = 1.0
) -> Tensor:
    """A hand's random walk: positions (steps, 2), centred on their mean and with their longest span 1.

    Args:
        generator: source of all randomness, on the CPU.
        steps: positions, all exposed for the same time.
        jerk: how strongly the velocity is pushed about, against its size.
        inertia: how strongly the hand is pulled back to where it began; more gives curls.
        impulse: chance a hundred steps of a sudden turn back.
    """
    heading = uniform(0, 2 * math.pi, generator)
    velocity = (math.sin(heading), math.cos(heading))
    pushes = torch.randn(steps, 2, generator=generator, dtype=torch.float64).tolist()
    turns = torch.rand(steps, 2, generator=generator, dtype=torch.float64).tolist()
    place, places = (0.0, 0.0), []
    size = 1.0 / steps
    for push, turn in zip(pushes, turns, strict=True):
        if turn[0] < impulse / 100:  # A sudden turn, about back.
            angle = math.pi + (turn[1] - 0.5)
            velocity = (
                velocity[0] * math.cos(angle) - velocity[1] * math.sin(angle),
                velocity[0] * math.sin(angle) + velocity[1] * math.cos(angle),
            )
        velocity = (
            velocity[0] + 20 * jerk * push[0] - 10 * inertia * place[0] * size,
            velocity[1] + 20 * jerk * push[1] - 10 * inertia * place[1] * size,
        )
        # A hand moves at about one speed; only its direction wanders.
        speed = max(math.hypot(*velocity), 1e-9)
        velocity = (velocity[0] / speed, velocity[1] / speed)
        place = (place[0] + velocity[0] * size, place[1] + velocity[1] * size)
        places.append(place)
    walk = torch.tensor(places, dtype=torch.float64)
    walk -= walk.mean(0)
    return walk / (walk.amax(0) - walk.amin(0)).max().clamp(min=1e-9)


def shake_kernel(
    size: int, generator: torch.Generator, *, jerk: float = 0.005, inertia: float = 0.7, impulse: float = 1.0
) -> Tensor:
    """A blur kernel (size, size) of a shaking hand, float32, with sum one and its centre of gravity in the middle.

    Args:
        size: odd; the trajectory spans all but a border of one pixel.
        generator: source of all randomness, on the CPU.
        jerk: as for `shake_trajectory`.
        inertia: likewise.
        impulse: likewise.

    Raises:
        ValueError: the size is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size of a kernel should be odd and positive, got {size}")
    places = shake_trajectory(generator, jerk=jerk, inertia=inertia, impulse=impulse)
    # Centred on the mean, a lopsided walk would leave the kernel on one side.
    reach = places.abs().max().clamp(min=1e-9)
    places = places / reach * max((size - 1) / 2 - 1, 0) + (size - 1) / 2
    weights = torch.full((len(places),), 1 / len(places), dtype=torch.float64)
    return splat(places[:, 0], places[:, 1], weights, size, size).float()


@dataclass(frozen=True)
class FrameAverage(Degradation):
    """The mean of frames between which the camera pans and rolls evenly, in linear light.

    Args:
        frames: how many.
        step: (down, right) pixels that the picture moves from one frame to the next.
        turn: degrees that it turns from one to the next, about the middle.
        gamma: of the image; 1 averages the values as they are.
    """

    frames: int = 7
    step: tuple[float, float] = (0.0, 1.0)
    turn: float = 0.0
    gamma: float = 2.2

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image))
        # A frame is itself exposed while things move: in steps of a pixel at most, lest edges show as combs.
        corner = math.hypot(*scene.shape[-2:]) / 2
        parts = max(1, math.ceil(math.hypot(*self.step) + abs(math.radians(self.turn)) * corner))
        # The sharp image is the frame in the middle, as in GoPro's pairs.
        light = to_light(scene, self.gamma)
        exposures = (self._moved(light, (index + 0.5) / parts - self.frames / 2) for index in range(self.frames * parts))
        return from_light(frame_average(exposures, 1.0), self.gamma).clamp(0, 1).to(image.dtype)

    def _moved(self, image: Tensor, time: float) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = axes(image)
        angle = math.radians(self.turn * time)
        down = rows - self.step[0] * time - (height - 1) / 2
        right = columns - self.step[1] * time - (width - 1) / 2
        return sample(
            image,
            math.cos(angle) * down - math.sin(angle) * right + (height - 1) / 2,
            math.sin(angle) * down + math.cos(angle) * right + (width - 1) / 2,
        )

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        frames: tuple[int, int] = (7, 13),
        speed: tuple[float, float] = (0.5, 2.5),
        turn: tuple[float, float] = (-0.1, 0.1),
    ) -> Self:
        """Draw a motion.

        Args:
            generator: source of all randomness, on the CPU.
            frames: range of their count, GoPro's.
            speed: range of the pixels from frame to frame, in any direction.
            turn: range of the degrees from frame to frame.
        """
        pace, heading = uniform(*speed, generator), uniform(0, 2 * math.pi, generator)
        return cls(
            frames=integer(*frames, generator),
            step=(pace * math.sin(heading), pace * math.cos(heading)),
            turn=uniform(*turn, generator),
        )


@dataclass(frozen=True)
class CameraShake(Degradation):
    """The blur of a shaking hand: one kernel of `shake_kernel` for the whole image, applied in linear light.

    Args:
        size: of the kernel, odd; 1 leaves the image as it is.
        jerk: how much the hand is pushed about.
        inertia: how much it is pulled back.
        impulse: chance a hundred steps of a sudden turn.
        gamma: of the image; 1 blurs the values as they are.
        seed: of the kernel, which all images of a batch share.
    """

    size: int = 21
    jerk: float = 0.005
    inertia: float = 0.7
    impulse: float = 1.0
    gamma: float = 2.2
    seed: int = 0

    def kernel(self) -> Tensor:
        """The kernel, (size, size)."""
        return shake_kernel(self.size, seeded(self.seed), jerk=self.jerk, inertia=self.inertia, impulse=self.impulse)

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if self.size == 1:
            return image
        light = to_light(full_precision(image), self.gamma)
        blurred = filter2d(light, self.kernel(), convolve=True)
        return from_light(blurred, self.gamma).clamp(0, 1).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        size: tuple[int, int] = (11, 41),
        jerk: tuple[float, float] = (0.001, 0.01),
        inertia: tuple[float, float] = (0.0, 0.7),
    ) -> Self:
        """Draw a shake.

        Args:
            generator: source of all randomness, on the CPU.
            size: range of the kernel's size, made odd.
            jerk: range of the pushes.
            inertia: range of the pull back, up to DeblurGAN's.
        """
        return cls(
            size=integer(size[0] // 2, (size[1] - 1) // 2, generator) * 2 + 1,
            jerk=uniform(*jerk, generator),
            inertia=uniform(*inertia, generator),
            impulse=uniform(0, 2, generator),
            seed=draw_seed(generator),
        )
