"""The one place that imports timm, so that a broken torchvision is explained once."""

from __future__ import annotations

import importlib
from types import ModuleType

CPU_PAIR = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"


def import_timm(module: str = "timm") -> ModuleType:
    """Import timm or one of its modules when it is needed.

    timm imports torchvision, and torchvision loads only beside the torch that it was built for.

    Args:
        module: dotted name, such as "timm.layers".

    Returns:
        The module.

    Raises:
        ImportError: timm is missing, or torchvision does not match torch; the message says how to mend it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        # torchvision's own message, "operator torchvision::nms does not exist", names neither the cause nor the cure.
        if "torchvision" not in str(error):
            raise
        raise ImportError(
            f"timm could not be imported, for torchvision does not match torch ({error}). Install both from one index, at one "
            f"time: `{CPU_PAIR}` for CPUs, `pip install --force-reinstall torch torchvision` for CUDA."
        ) from error
