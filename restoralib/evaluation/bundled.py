"""The figures of the bundled weights, which the manifest, the README and the docs quote."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from restoralib.evaluation.classical import BM3D
from restoralib.evaluation.run import evaluate
from restoralib.latent.restorer import LatentRestorer
from restoralib.restoration import restore
from restoralib.restoration.models import Model
from restoralib.zoo import load_bundled


@dataclass(frozen=True)
class Figures:
    """The mean figures of one method on one set of images.

    Args:
        dataset: name of the set.
        protocol: what was compared and how.
        method: name of the method.
        images: number of images.
        psnr: mean PSNR in dB.
        ssim: mean SSIM.
    """

    dataset: str
    protocol: str
    method: str
    images: int
    psnr: float
    ssim: float


def cbm3d(sigma: float) -> Callable[[Tensor], Tensor]:
    """CBM3D of the package bm3d, told the true noise level, of 255."""
    return BM3D(sigma / 255)


def latent_methods(tile: int = 192) -> dict[str, Model]:
    """The bundled denoiser of latents, with temporal tiling, and what it is compared with.

    Args:
        tile: side of a tile in pixels.
    """
    latent = load_bundled("latent_denoise")
    assert isinstance(latent, LatentRestorer)

    def restored(steps: int) -> Callable[[Tensor], Tensor]:
        return lambda noisy: restore(noisy, latent, steps=steps, seed=0, tile=tile)

    return {
        "noisy": "noisy",
        "its autoencoder alone": latent.reconstruct,
        "4 steps": restored(4),
        "SanaTransformer (bundled)": restored(1),
    }


def evaluate_bundled(folder: Path, *, bm3d: bool = False, sigmas: Sequence[float] = (15, 25, 50)) -> list[Figures]:
    """Measure the bundled super-resolution networks on Set5 and Set14 and the denoisers on CBSD68.

    Super-resolution by the classic protocol; denoising of noise that is clipped and rounded to 8 bits, in RGB.
    Beside the denoiser of latents stands what its autoencoder alone makes of the noisy image, and of the clean one.

    Args:
        folder: holds Set5/HR, Set14/HR and CBSD68; what is missing is left out.
        bm3d: measure CBM3D beside the denoiser, in the same run on the same noise.
        sigmas: noise levels.

    Raises:
        FileNotFoundError: none of the three folders exists.
        ValueError: an image cannot be measured.
    """
    rows = []
    for dataset in ("Set5", "Set14"):
        if not (folder / dataset / "HR").is_dir():
            continue
        for scale in (2, 3, 4):
            methods: dict[str, Model] = {
                "bicubic": "bicubic",
                "FSRCNN (bundled)": f"fsrcnn_x{scale}",
                "RLFN (bundled)": f"rlfn32_x{scale}",
            }
            rows += _rows(methods, folder / dataset / "HR", dataset, f"luma-classic x{scale}", scale=scale)
    if (folder / "CBSD68").is_dir():
        for sigma in sigmas:
            methods = {"noisy": "noisy", "NAFNet (bundled)": "denoise"}
            if bm3d:
                methods["CBM3D"] = cbm3d(sigma)
            rows += _rows(methods, folder / "CBSD68", "CBSD68", f"rgb sigma {sigma:g} 8-bit", noise=sigma)
            rows += _rows(latent_methods(), folder / "CBSD68", "CBSD68", f"rgb sigma {sigma:g} 8-bit latent", noise=sigma)
        ceiling: dict[str, Model] = {"DCAE (bundled)": latent_methods()["its autoencoder alone"]}
        rows += _rows(ceiling, folder / "CBSD68", "CBSD68", "rgb clean", noise=0)
    if not rows:
        raise FileNotFoundError(f"{folder} holds none of Set5/HR, Set14/HR and CBSD68")
    return rows


def _rows(
    methods: Mapping[str, Model],
    folder: Path,
    dataset: str,
    protocol: str,
    *,
    scale: int | None = None,
    noise: float | None = None,
) -> list[Figures]:
    rows = []
    for name, method in methods.items():
        found = evaluate(method, folder, scale=scale, noise=noise, noise_protocol="uint8")
        if found.failures:
            raise ValueError(f"{dataset}: {found.failures[0].name}: {found.failures[0].reason}")
        count = len(found.images)
        titled = dataset if scale else f"{dataset} ({count})"
        rows.append(Figures(titled, protocol, name, count, *found.mean.values()))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of the bundled weights as a table, or as JSON."""
    import restoralib.evaluation

    about = restoralib.evaluation.__doc__
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bm3d", action="store_true", help="measure CBM3D too (minutes)")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50], help="noise levels, of 255")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = evaluate_bundled(options.folder, bm3d=options.bm3d, sigmas=options.sigmas)
    if options.json:
        lines = [json.dumps([asdict(row) for row in rows], indent=1)]
    else:
        lines = [f"{row.dataset:12} {row.protocol:20} {row.method:18} {row.psnr:6.2f} dB  {row.ssim:.4f}" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")
