"""Networks as files for other programs: torch.export, ONNX, int8 ONNX, safetensors.

Graphs take any height and width, where the network allows it, and are compared with it before the file is there.
"""

from restoralib.export.description import Description, Sizes, read_description
from restoralib.export.onnx_file import export_onnx
from restoralib.export.onnx_model import OnnxModel
from restoralib.export.program import export_program
from restoralib.export.quantization import quantize_onnx
from restoralib.export.tracing import NotExportable
from restoralib.export.weights import export_safetensors

__all__ = [
    "Description",
    "NotExportable",
    "OnnxModel",
    "Sizes",
    "export_onnx",
    "export_program",
    "export_safetensors",
    "quantize_onnx",
    "read_description",
]
