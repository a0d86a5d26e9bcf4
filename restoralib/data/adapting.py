"""What papers do to the two images of a pair before anything is measured."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from restoralib.ops.levels import round_to_levels

Adapt = Callable[[Tensor | None, Tensor | None], tuple[Tensor | None, Tensor | None]]

_LARGEST_CUT = 12  # GTmod12, from which BasicSR's reduced folders were made, cuts to a multiple of 12.


def cut_to_scale(clean: Tensor, scale: int, degraded: Tensor | None = None) -> Tensor:
    """Cut the clean image at the right and below to a multiple of the scale, or to what the stored reduced image shows.

    Args:
        clean: (c, h, w).
        scale: the factor.
        degraded: the stored reduced image; one that was made from an image cut to a multiple of 12 asks for the same cut.
    """
    height, width = clean.shape[-2] // scale * scale, clean.shape[-1] // scale * scale
    if degraded is not None:
        small = degraded.shape[-2] * scale, degraded.shape[-1] * scale
        if 0 <= height - small[0] < _LARGEST_CUT and 0 <= width - small[1] < _LARGEST_CUT:
            height, width = small
    return clean[..., :height, :width]


def crop_larger_truth(degraded: Tensor | None, clean: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """SOTS indoor: the original truth shows 10 pixels more on each side (640x480 against 620x460), which are left out."""
    if degraded is not None and clean is not None and clean.shape[-2:] == (degraded.shape[-2] + 20, degraded.shape[-1] + 20):
        clean = clean[..., 10:-10, 10:-10]
    return degraded, clean


def central_box_256(degraded: Tensor | None, clean: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """TIP2018: of both images the central box, w/6 to 5w/6 and h/6 to 5h/6, resized to 256x256 (bilinear, as Pillow does)."""
    return (
        None if degraded is None else _central_box_256(degraded),
        None if clean is None else _central_box_256(clean),
    )


def _central_box_256(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    box = image[:, height // 6 : height * 5 // 6, width // 6 : width * 5 // 6]
    resized = functional.interpolate(box[None], (256, 256), mode="bilinear", antialias=True)[0]
    return round_to_levels(resized)  # As the 8-bit image that Pillow's resize gives.
