"""Write a bundled network as ONNX, in float32 and in 8 bits, and restore a photograph with each by ONNX Runtime.

    pip install "restoralib[cli,onnx]"
    python examples/export_onnx.py
    python examples/export_onnx.py photograph.jpg --model denoise --folder exported

The files hold what `restore` needs to know of them, so that it takes them like any model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import restoralib
from restoralib.export import OnnxModel, export_onnx, quantize_onnx
from restoralib.images import read_image
from restoralib.metrics import psnr
from restoralib.zoo import TASKS, load_bundled, model_info

PHOTOGRAPHS = [Path(__file__).with_name(name) for name in ("chelsea.png", "coffee.png")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path, nargs="?", default=PHOTOGRAPHS[0])
    parser.add_argument("--model", default="sr2", help="a task with bundled weights")
    parser.add_argument("--folder", type=Path, default=Path("exported"))
    options = parser.parse_args()

    name = TASKS[options.model]
    if name is None:
        parser.error(f"no weights for {options.model} are bundled")
    net, licence = load_bundled(name), model_info(name).weights_license
    options.folder.mkdir(exist_ok=True)
    whole, small = options.folder / f"{name}.onnx", options.folder / f"{name}_int8.onnx"
    described = export_onnx(net, whole, name=name, licence=licence)
    quantize_onnx(whole, PHOTOGRAPHS, small)
    print(f"{whole.name}: scale {described.spec.scale}, sizes {described.sizes}, weights {described.licence}")

    image = read_image(options.photograph).color
    expected = restoralib.restore(image, net)
    for path in (whole, small):
        restored = restoralib.restore(image, OnnxModel(path))
        decibel = float(psnr(restored[None], expected[None]))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {decibel:.1f} dB to the network's own result")


if __name__ == "__main__":
    main()
