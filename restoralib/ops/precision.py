"""Float32 where half precision would overflow or lose what matters."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The type itself for float32 and float64, float32 for half precision and integers."""
    return torch.promote_types(dtype, torch.float32)


def full_precision(x: Tensor) -> Tensor:
    """The numbers as they are for float32 and float64, as float32 for half precision and integers."""
    return x.to(at_least_float32(x.dtype))


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which operations on the device of `x` run in the types of their inputs; also where there is no autocast."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
