"""What becomes of every network of the table when it is exported; writes the table of the documentation.

    python tests/archs/exports.py            # networks that docs/exports.json lacks
    python tests/archs/exports.py SwinIR HAT # these, anew

Each is traced once, written as ONNX once, and both are run at two sizes other than the traced one.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from restoralib.export import NotExportable, OnnxModel, export_onnx
from restoralib.export.tracing import check_sizes, first_line, trace

FILE = Path(__file__).parents[2] / "docs" / "exports.json"


def survey(net: nn.Module, folder: Path) -> dict[str, object]:
    """Sizes that the program and the ONNX file take, and how far they are from the network; or why there is none."""
    found: dict[str, object] = {"program": None, "program_error": None, "onnx": None, "onnx_error": None}
    try:
        program, sizes = trace(net, check=False)
        found |= {"program": str(sizes), "program_error": check_sizes(program.module(), net, sizes, count=2)}
    except NotExportable as error:
        found["program_reason"] = str(error)
        return found
    try:
        file = folder / f"{type(net).__name__}.onnx"
        described = export_onnx(net, file, check=False, traced=(program, sizes))
        worst = check_sizes(OnnxModel(file).run, net, described.sizes, count=2)
        found |= {"onnx": str(described.sizes), "onnx_error": worst}
    except NotExportable as error:
        found["onnx_reason"] = str(error)
    except Exception as error:  # ONNX Runtime on a file that it does not run
        found["onnx_reason"] = first_line(error)
    return found


def read() -> dict[str, dict[str, object]]:
    """The stored table, by the name of the class."""
    return json.loads(FILE.read_text(encoding="utf-8"))["networks"] if FILE.exists() else {}


def write(names: list[str]) -> None:
    """Survey tiny networks of these classes, and enter what is found one by one."""
    from test_all import TINY, make

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import onnxruntime

    about = {"torch": torch.__version__.partition("+")[0], "onnxruntime": onnxruntime.__version__}
    for name in names or [name for name in TINY if name not in read()]:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            entry = survey(make(name), Path(folder))
        known = {**read(), name: entry}
        table = {name: known[name] for name in TINY if name in known}
        FILE.write_text(json.dumps({"environment": about, "networks": table}, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {entry} in {time.process_time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    write(sys.argv[1:])
