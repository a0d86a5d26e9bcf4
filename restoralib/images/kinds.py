"""From whatever a person holds to a `Picture`, and back to the same kind."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from torch import Tensor

from restoralib.images.picture import (
    ImageError,
    Picture,
    array_to_picture,
    picture_to_array,
    picture_to_tensor,
    tensor_to_picture,
)
from restoralib.images.pil import fits_pil, picture_to_pil, pil_to_picture


def to_picture(image: Any) -> Picture:
    """Take a PIL image, a numpy array or a tensor, or a picture itself; `read_image` takes files.

    Args:
        image: a PIL image, whose EXIF orientation is applied; an array (h, w) or (h, w, c); or a tensor (h, w), (c, h, w) or
            (b, c, h, w). Alpha comes last. Arrays and tensors are uint8, uint16, bool, or floating point in [0, 1].

    Raises:
        TypeError: the object is no image, or its numbers are of another type.
        ImageError: it is empty, not finite, of an impossible shape or range, or damaged.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, Tensor):
        return tensor_to_picture(image)
    if isinstance(image, np.ndarray):
        return array_to_picture(image)
    if hasattr(image, "getexif"):
        try:
            return pil_to_picture(image)
        except ImageError:
            raise
        except Exception as error:  # Pillow decodes only now, and raises nearly anything on damaged images.
            raise ImageError(f"Pillow cannot give the pixels of this image ({error}); open or make it again") from error
    raise TypeError(
        f"an image should be a path, a PIL image, a numpy array or a tensor, got {type(image).__name__}; "
        "encoded bytes open with PIL.Image.open(io.BytesIO(data))"
    )


def from_picture(picture: Picture, like: Any) -> Any:
    """Give a picture back in the kind of `like`: its type, depth, layout and device; itself, for a picture.

    A path stands for a PIL image, or for an array (h, w, c) of uint16 or float32 where Pillow has no such image (16-bit and
    floating-point colour). A PIL image carries its metadata in `info`.
    """
    if isinstance(like, Picture):
        return picture
    if isinstance(like, Tensor):
        tensor = picture_to_tensor(picture, like.dtype).to(like.device)
        return tensor[0] if like.ndim == 2 else tensor
    if isinstance(like, np.ndarray):
        array = picture_to_array(picture, like.dtype)
        return array[..., 0] if like.ndim == 2 else array
    if isinstance(like, str | os.PathLike) and not fits_pil(picture):
        return picture_to_array(picture)
    return picture_to_pil(picture)
