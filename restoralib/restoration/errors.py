"""What can end a restoration, and the refusal of arguments that a kind of model has no use for."""

from typing import Any

import torch

# The words of allocators that raise a plain RuntimeError: the CPU's on POSIX and on Windows, those of MPS and of cuDNN.
_WORDS = ("can't allocate memory", "not enough memory", "MPS backend out of memory", "STATUS_ALLOC_FAILED")


class OutOfMemory(RuntimeError):
    """Not even the smallest tile, or a batch of a training, fits into memory; the message names it and a next step."""


class Cancelled(RuntimeError):
    """The progress callback returned False."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller tile may help."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def refuse(why: str, **asked: Any) -> None:
    """Refuse arguments that were given.

    Args:
        why: follows their names in the message.
        asked: arguments by name; what is false or None was not given.

    Raises:
        ValueError: one of them was.
    """
    names = [name for name, value in asked.items() if value]
    if names:
        raise ValueError(f"{' and '.join(names)}: {why}")
