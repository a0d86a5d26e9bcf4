"""What can end a restoration but bad arguments."""

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
