"""The weights of the golden files: fixed pseudo-random numbers, the same for the same key and shape on every machine.

A golden holds inputs and the output that a reference implementation gave for them in float64, with these numbers as its
weights; `network.py` reads and runs it.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of a state dict's entry.

    Standard normal numbers, seeded by the CRC-32 of the key, are scaled by what the entry is: variances are positive, vectors
    lie around 1 (weights) or 0 (biases), everything else keeps the magnitude of what passes through.
    """
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        return 0.5 + 0.5 * np.abs(noise)
    if len(shape) <= 1:
        return (1.0 if key.endswith("weight") else 0.0) + 0.1 * noise
    return noise / math.sqrt(math.prod(shape[1:]))
