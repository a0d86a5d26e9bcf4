"""Import every module of an installed restoralib and restore a tensor, where only the core dependencies are installed."""

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import torch

import restoralib

EXTRAS = ("typer", "tifffile", "imagecodecs", "pytest", "mkdocs")
NEED_EXTRAS = {"restoralib.cli"}

if present := [name for name in EXTRAS if find_spec(name)]:
    sys.exit(f"not a core environment: {', '.join(present)} installed")
for module in pkgutil.walk_packages(restoralib.__path__, "restoralib."):
    if module.name not in NEED_EXTRAS:
        importlib.import_module(module.name)

image = torch.rand(3, 40, 56)
for task, size in {"denoise": (40, 56), "sr4": (160, 224)}.items():
    restored = restoralib.restore(image, task)
    if restored.shape != (3, *size):
        sys.exit(f"{task} of {tuple(image.shape)} gave {tuple(restored.shape)}")

command = subprocess.run([sys.executable, "-m", "restoralib"], capture_output=True, text=True, check=False)
if command.returncode != 1 or 'pip install "restoralib[cli]"' not in command.stderr:
    sys.exit(f"python -m restoralib should name the extra, said: {command.stderr}")
sys.stdout.write(f"restoralib {restoralib.__version__} works with its core dependencies\n")
