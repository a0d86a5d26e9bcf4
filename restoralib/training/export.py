"""Trained weights as a safetensors file that `load_model` recognises with nothing left to guess."""

from __future__ import annotations

from restoralib.checkpoints.writing import write_weights as export_weights

__all__ = ["export_weights"]
