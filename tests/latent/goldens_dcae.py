"""Runners of DC-AE's goldens."""

from __future__ import annotations

from restoralib.archs import DCAE
from restoralib.blocks import GLUMBConv

RUNNERS = {"DCAE": DCAE, "GLUMBConv": GLUMBConv}
PUBLISHED = {
    "dc_ae_f32c32_sana": "dc_ae_f32c32_sana_1_0",
    "dc_ae_f32c32_sana_original": "dc_ae_f32c32_sana_1_0",
    "dc_ae_f32c32_in": "dc_ae_f32c32_in_1_0",
    "dc_ae_f32c32_in_original": "dc_ae_f32c32_in_1_0",
}
