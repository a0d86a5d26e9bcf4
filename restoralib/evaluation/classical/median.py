"""The median filter, which drops what is thinner than half of its window: streaks of rain, lines of moire."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from restoralib.archs.spec import NetSpec


@dataclass(frozen=True)
class MedianFilter:
    """The median of each channel in a square window, whose border pixels go on outside (Tukey 1977).

    Args:
        side: of the window, odd.

    Raises:
        ValueError: the side is even or not positive.
    """

    side: int = 3

    def __post_init__(self) -> None:
        if self.side < 1 or self.side % 2 == 0:
            raise ValueError(f"the side of a median's window should be odd and positive, got {self.side}")

    @property
    def spec(self) -> NetSpec:
        """Half a window is what a pixel looks beyond itself."""
        return NetSpec(halo=self.side // 2)

    def __call__(self, image: Tensor) -> Tensor:
        """Filter (b, c, h, w)."""
        padded = functional.pad(image, (self.side // 2,) * 4, mode="replicate")
        windows = padded.unfold(-2, self.side, 1).unfold(-2, self.side, 1)
        return windows.flatten(-2).median(-1).values
