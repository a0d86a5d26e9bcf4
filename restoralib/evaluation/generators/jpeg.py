"""JPEG by Pillow's own encoder and decoder."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from restoralib.evaluation.generators.spoilt import Rng, Spoilt
from restoralib.metrics import to_8_bits


def jpeg(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """A file of Pillow's, read again.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: quality; None draws 10 to 40. Chroma is kept whole, halved along rows, or along both, as likely as each other.

    Raises:
        ImportError: the extra `io` is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError(f'JPEG files need {error.name}; pip install "restoralib[io]"') from error

    quality = int(rng.integers(10, 41)) if level is None else round(level)
    subsampling = int(rng.integers(3))
    pixels = (to_8_bits(clean[None])[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as opened:
        decoded = np.asarray(opened.convert("RGB"))
    chroma = ("4:4:4", "4:2:2", "4:2:0")[subsampling]
    return Spoilt(torch.from_numpy(decoded / 255).permute(2, 0, 1), {"quality": float(quality), "chroma": chroma})
