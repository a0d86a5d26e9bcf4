"""What of this installation works, for people and for bug reports."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from restoralib._timm import CPU_PAIR, import_timm

if TYPE_CHECKING:
    import torch

CORE = ("torch", "torchvision", "timm", "einops", "safetensors", "numpy", "typing-extensions")
EXTRAS = {"pillow": "io", "tifffile": "io", "imagecodecs": "io", "typer": "cli", "rich": "cli"}
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: "version", "device" or "check".
        subject: what it is about.
        result: what was found, in a line.
        ok: whether it works.
        remedy: what to do where it does not.
    """

    topic: str
    subject: str
    result: str
    ok: bool = True
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Look at versions, devices, timm, the bundled weights and Triton; what fails is a finding, not an exception."""
    findings = list(find_versions())
    try:
        import torch
    except Exception as error:  # whatever keeps torch from loading is the finding
        remedy = f"reinstall it: `pip install --force-reinstall torch torchvision`, or for CPUs `{CPU_PAIR}`"
        return [*findings, Finding("check", "import torch", str(error), ok=False, remedy=remedy)]
    findings += find_devices(torch.version.cuda)
    findings += [check_timm(), *check_bundled_weights(), check_triton()]
    return findings


def find_versions() -> Iterator[Finding]:
    """Versions of Python, restoralib and the packages that it uses."""
    yield Finding("version", "python", f"{platform.python_version()} on {platform.platform()}")
    from restoralib import __version__

    yield Finding("version", "restoralib", __version__)
    for package in (*CORE, *EXTRAS):
        try:
            yield Finding("version", package, version(package))
        except PackageNotFoundError:
            extra = EXTRAS.get(package)
            remedy = f'pip install "restoralib[{extra}]"' if extra else f"pip install {package}"
            yield Finding("version", package, "not installed", ok=False, remedy=remedy)


def find_devices(cuda_build: str | None) -> Iterator[Finding]:
    """Each device that torch can use, with the types in which it computes a convolution.

    Args:
        cuda_build: the CUDA version that torch was built for, None for a CPU build.
    """
    import torch

    yield Finding("device", "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads; {computes('cpu')}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield Finding("device", f"cuda:{index}", f"{properties.name}, {memory}; {computes(f'cuda:{index}')}")
    if torch.backends.mps.is_available():
        yield Finding("device", "mps", computes("mps"))
    if cuda_build is None and shutil.which("nvidia-smi"):
        remedy = "pip install --force-reinstall torch torchvision"
        yield Finding(
            "device", "cuda", "this torch is a CPU build, but the machine has an NVIDIA driver", ok=False, remedy=remedy
        )


def computes(device: str) -> str:
    """The types in which a small convolution runs and stays finite, and those in which it does not."""
    import torch

    works = {name: _convolves(device, getattr(torch, name)) for name in DTYPES}
    no = [name for name, ok in works.items() if not ok]
    return ", ".join(name for name, ok in works.items() if ok) + (f" (not {', '.join(no)})" if no else "")


def _convolves(device: str, dtype: torch.dtype) -> bool:
    import torch

    try:
        image = torch.rand(1, 3, 16, 16, device=device, dtype=dtype)
        result = torch.nn.functional.conv2d(image, image[:, :, :3, :3])
    except (RuntimeError, TypeError):  # "not implemented for 'Half'" and its kin
        return False
    return bool(torch.isfinite(result).all())


def check_timm() -> Finding:
    """Whether timm imports, which it does only with a torchvision that fits torch."""
    try:
        import_timm("timm.layers")
    except ImportError as error:
        return Finding("check", "import timm", str(error).splitlines()[0], ok=False, remedy=CPU_PAIR)
    return Finding("check", "import timm", "works")


def check_bundled_weights() -> Iterator[Finding]:
    """Whether every bundled model loads and restores a small image to finite values."""
    import torch

    from restoralib import create_model
    from restoralib.zoo import list_models, model_info

    for name in list_models(bundled=True):
        try:
            model = create_model(name, weights="bundled")
            spec: Any = model.spec
            with torch.inference_mode():
                finite = torch.isfinite(model(torch.rand(1, spec.in_channels, 24, 24))).all()
        except Exception as error:  # whatever goes wrong here is the finding
            yield Finding("check", name, str(error), ok=False, remedy="reinstall restoralib")
        else:
            tasks = ", ".join(model_info(name).tasks)
            does = "tells degradations" if spec.role == "classifier" else "restores"
            result = f"{does} ({tasks})" if finite else "gives values that are not finite"
            yield Finding("check", name, result, ok=bool(finite), remedy="" if finite else "report this")


def check_triton() -> Finding:
    """Whether torch.compile finds Triton, without which CUDA devices run eager code."""
    found = importlib.util.find_spec("triton") is not None
    return Finding("check", "triton", "found" if found else "not found; torch.compile does without it on CPUs")
