"""The networks, and the one table that names every architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from restoralib.archs import (
    fsrcnn,
    msrresnet,
    nafnet,
    restormer,
    srcnn,
    srresnet,
    swinir,
)
from restoralib.archs.fsrcnn import FSRCNN
from restoralib.archs.msrresnet import MSRResNet
from restoralib.archs.nafnet import Baseline, BaselineLocal, NAFNet, NAFNetLocal, PlainNet
from restoralib.archs.restormer import Restormer
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant, example_inputs
from restoralib.archs.srcnn import SRCNN
from restoralib.archs.srresnet import SRGANDiscriminator, SRResNet
from restoralib.archs.swinir import SwinIR

__all__ = [
    "ARCHITECTURES",
    "FSRCNN",
    "SRCNN",
    "VARIANTS",
    "Architecture",
    "Baseline",
    "BaselineLocal",
    "Inferred",
    "MSRResNet",
    "NAFNet",
    "NAFNetLocal",
    "NetSpec",
    "PlainNet",
    "Restormer",
    "SRGANDiscriminator",
    "SRResNet",
    "StateDict",
    "SwinIR",
    "Variant",
    "example_inputs",
    "find_architecture",
]


@dataclass(frozen=True)
class Architecture:
    """A family of networks that share a file.

    Args:
        classes: the networks.
        variants: published configurations by their names.
        infer_config: what a state dict tells, None where it belongs to another family; pure.
        rename_keys: the class's own keys for a state dict in another published layout; pure.
    """

    classes: tuple[type[nn.Module], ...]
    variants: Mapping[str, Variant]
    infer_config: Callable[[StateDict], Inferred | None]
    rename_keys: Callable[[StateDict], StateDict] = lambda state_dict: state_dict


ARCHITECTURES: Mapping[str, Architecture] = {
    "srcnn": Architecture((SRCNN,), srcnn.VARIANTS, srcnn.infer_config),
    "fsrcnn": Architecture((FSRCNN,), fsrcnn.VARIANTS, fsrcnn.infer_config),
    "srresnet": Architecture((SRResNet, SRGANDiscriminator), srresnet.VARIANTS, srresnet.infer_config, srresnet.rename_keys),
    "msrresnet": Architecture((MSRResNet,), msrresnet.VARIANTS, msrresnet.infer_config, msrresnet.rename_keys),
    "nafnet": Architecture((PlainNet, Baseline, BaselineLocal, NAFNet, NAFNetLocal), nafnet.VARIANTS, nafnet.infer_config),
    "swinir": Architecture((SwinIR,), swinir.VARIANTS, swinir.infer_config),
    "restormer": Architecture((Restormer,), restormer.VARIANTS, restormer.infer_config),
}

VARIANTS: Mapping[str, Variant] = {
    name: variant for architecture in ARCHITECTURES.values() for name, variant in architecture.variants.items()
}


def find_architecture(cls: type[nn.Module]) -> Architecture | None:
    """The entry of a network's class; None for a class that the table does not have."""
    return next((entry for entry in ARCHITECTURES.values() if cls in entry.classes), None)
