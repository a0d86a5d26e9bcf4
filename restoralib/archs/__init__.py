"""The networks, and the one table that names every architecture."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from restoralib.archs import (
    dcae,
    degradation_classifier,
    dehazeformer,
    diffir,
    dmcnn,
    dncnn,
    drunet,
    edsr,
    fsrcnn,
    guided_diffusion,
    hat,
    irsde_unet,
    kl_autoencoder,
    mprnet,
    msrresnet,
    nafnet,
    palette,
    prenet,
    promptir,
    rcan,
    refusion,
    restormer,
    retinexnet,
    rlfn,
    rrdbnet,
    sana,
    sana_denoiser,
    scunet,
    snr_aware,
    sr3,
    srcnn,
    srresnet,
    srvgg,
    stablesr,
    swinir,
    unet_discriminator,
    vgg_discriminator,
    zero_dce,
)
from restoralib.archs.dcae import DCAE
from restoralib.archs.degradation_classifier import DegradationClassifier
from restoralib.archs.dehazeformer import DehazeFormer
from restoralib.archs.diffir import DiffIRS1, DiffIRS2
from restoralib.archs.dmcnn import DMCNN
from restoralib.archs.dncnn import DnCNN
from restoralib.archs.drunet import DRUNet
from restoralib.archs.edsr import EDSR
from restoralib.archs.fsrcnn import FSRCNN
from restoralib.archs.guided_diffusion import GuidedUNet
from restoralib.archs.hat import HAT
from restoralib.archs.irsde_unet import ConditionalUNet
from restoralib.archs.kl_autoencoder import KLAutoencoder
from restoralib.archs.mprnet import MPRNet
from restoralib.archs.msrresnet import MSRResNet
from restoralib.archs.nafnet import Baseline, BaselineLocal, NAFNet, NAFNetLocal, PlainNet
from restoralib.archs.palette import PaletteUNet
from restoralib.archs.prenet import PRN, PReNet, PReNet_r, PRN_r
from restoralib.archs.prompted import PromptedNAFNet, PromptedUNet
from restoralib.archs.promptir import PromptIR
from restoralib.archs.rcan import RCAN
from restoralib.archs.refusion import ConditionalNAFNet
from restoralib.archs.restormer import Restormer
from restoralib.archs.retinexnet import DecomNet, RelightNet, RetinexNet
from restoralib.archs.rlfn import RLFN
from restoralib.archs.rrdbnet import RRDBNet
from restoralib.archs.sana import SanaBlock, SanaTransformer
from restoralib.archs.sana_denoiser import SanaDenoiser
from restoralib.archs.scunet import SCUNet
from restoralib.archs.snr_aware import SNRAware, snr_map
from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant, example_inputs
from restoralib.archs.sr3 import SR3UNet
from restoralib.archs.srcnn import SRCNN
from restoralib.archs.srresnet import SRGANDiscriminator, SRResNet
from restoralib.archs.srvgg import SRVGGNetCompact
from restoralib.archs.stablesr import StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.archs.swinir import SwinIR
from restoralib.archs.unet_discriminator import UNetDiscriminatorSN
from restoralib.archs.vgg_discriminator import VGGStyleDiscriminator
from restoralib.archs.zero_dce import ZeroDCE, ZeroDCEPlusPlus

__all__ = [
    "ARCHITECTURES",
    "DCAE",
    "DMCNN",
    "EDSR",
    "FSRCNN",
    "HAT",
    "PRN",
    "RCAN",
    "RLFN",
    "SRCNN",
    "VARIANTS",
    "Architecture",
    "Baseline",
    "BaselineLocal",
    "ConditionalNAFNet",
    "ConditionalUNet",
    "DRUNet",
    "DecomNet",
    "DegradationClassifier",
    "DehazeFormer",
    "DiffIRS1",
    "DiffIRS2",
    "DnCNN",
    "GuidedUNet",
    "Inferred",
    "KLAutoencoder",
    "MPRNet",
    "MSRResNet",
    "NAFNet",
    "NAFNetLocal",
    "NetSpec",
    "PRN_r",
    "PReNet",
    "PReNet_r",
    "PaletteUNet",
    "PlainNet",
    "PromptIR",
    "PromptedNAFNet",
    "PromptedUNet",
    "RRDBNet",
    "RelightNet",
    "Restormer",
    "RetinexNet",
    "SCUNet",
    "SNRAware",
    "SR3UNet",
    "SRGANDiscriminator",
    "SRResNet",
    "SRVGGNetCompact",
    "SanaBlock",
    "SanaDenoiser",
    "SanaTransformer",
    "StableSRAutoencoder",
    "StableSRGuidanceEncoder",
    "StableSRUNet",
    "StateDict",
    "SwinIR",
    "UNetDiscriminatorSN",
    "VGGStyleDiscriminator",
    "Variant",
    "ZeroDCE",
    "ZeroDCEPlusPlus",
    "example_inputs",
    "find_architecture",
    "load_plugins",
    "register_arch",
    "snr_map",
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


_ARCHITECTURES: dict[str, Architecture] = {
    "srcnn": Architecture((SRCNN,), srcnn.VARIANTS, srcnn.infer_config),
    "fsrcnn": Architecture((FSRCNN,), fsrcnn.VARIANTS, fsrcnn.infer_config),
    "srresnet": Architecture((SRResNet, SRGANDiscriminator), srresnet.VARIANTS, srresnet.infer_config, srresnet.rename_keys),
    "msrresnet": Architecture((MSRResNet,), msrresnet.VARIANTS, msrresnet.infer_config, msrresnet.rename_keys),
    "nafnet": Architecture((PlainNet, Baseline, BaselineLocal, NAFNet, NAFNetLocal), nafnet.VARIANTS, nafnet.infer_config),
    "swinir": Architecture((SwinIR,), swinir.VARIANTS, swinir.infer_config),
    "hat": Architecture((HAT,), hat.VARIANTS, hat.infer_config),
    "edsr": Architecture((EDSR,), edsr.VARIANTS, edsr.infer_config, edsr.rename_keys),
    "dncnn": Architecture((DnCNN,), dncnn.VARIANTS, dncnn.infer_config),
    "drunet": Architecture((DRUNet,), drunet.VARIANTS, drunet.infer_config),
    "scunet": Architecture((SCUNet,), scunet.VARIANTS, scunet.infer_config),
    "rcan": Architecture((RCAN,), rcan.VARIANTS, rcan.infer_config, rcan.rename_keys),
    "rlfn": Architecture((RLFN,), rlfn.VARIANTS, rlfn.infer_config),
    "rrdbnet": Architecture((RRDBNet,), rrdbnet.VARIANTS, rrdbnet.infer_config, rrdbnet.rename_keys),
    "srvgg": Architecture((SRVGGNetCompact,), srvgg.VARIANTS, srvgg.infer_config),
    "unet_discriminator": Architecture(
        (UNetDiscriminatorSN,),
        unet_discriminator.VARIANTS,
        unet_discriminator.infer_config,
        unet_discriminator.rename_keys,
    ),
    "vgg_discriminator": Architecture((VGGStyleDiscriminator,), vgg_discriminator.VARIANTS, vgg_discriminator.infer_config),
    "mprnet": Architecture((MPRNet,), mprnet.VARIANTS, mprnet.infer_config),
    "prenet": Architecture((PReNet, PReNet_r, PRN, PRN_r), prenet.VARIANTS, prenet.infer_config),
    "promptir": Architecture((PromptIR,), promptir.VARIANTS, promptir.infer_config),
    "restormer": Architecture((Restormer,), restormer.VARIANTS, restormer.infer_config),
    "diffir": Architecture((DiffIRS1, DiffIRS2), diffir.VARIANTS, diffir.infer_config),
    "irsde_unet": Architecture((ConditionalUNet,), irsde_unet.VARIANTS, irsde_unet.infer_config),
    "refusion": Architecture((ConditionalNAFNet,), refusion.VARIANTS, refusion.infer_config),
    "guided_diffusion": Architecture((GuidedUNet,), guided_diffusion.VARIANTS, guided_diffusion.infer_config),
    "sr3": Architecture((SR3UNet,), sr3.VARIANTS, sr3.infer_config, sr3.rename_keys),
    "palette": Architecture((PaletteUNet,), palette.VARIANTS, palette.infer_config, palette.rename_keys),
    "sana": Architecture((SanaTransformer,), sana.VARIANTS, sana.infer_config, sana.rename_keys),
    "sana_denoiser": Architecture((SanaDenoiser,), sana_denoiser.VARIANTS, sana_denoiser.infer_config, sana.rename_keys),
    "kl_autoencoder": Architecture(
        (KLAutoencoder,), kl_autoencoder.VARIANTS, kl_autoencoder.infer_config, kl_autoencoder.rename_keys
    ),
    "stablesr": Architecture(
        (StableSRUNet, StableSRGuidanceEncoder, StableSRAutoencoder), stablesr.VARIANTS, stablesr.infer_config
    ),
    "dehazeformer": Architecture((DehazeFormer,), dehazeformer.VARIANTS, dehazeformer.infer_config),
    "dcae": Architecture((DCAE,), dcae.VARIANTS, dcae.infer_config, dcae.rename_keys),
    "dmcnn": Architecture((DMCNN,), dmcnn.VARIANTS, dmcnn.infer_config),
    "retinexnet": Architecture((DecomNet, RelightNet, RetinexNet), retinexnet.VARIANTS, retinexnet.infer_config),
    "snr_aware": Architecture((SNRAware,), snr_aware.VARIANTS, snr_aware.infer_config),
    "degradation_classifier": Architecture(
        (DegradationClassifier,), degradation_classifier.VARIANTS, degradation_classifier.infer_config
    ),
    "zero_dce": Architecture((ZeroDCE, ZeroDCEPlusPlus), zero_dce.VARIANTS, zero_dce.infer_config),
}

ARCHITECTURES: Mapping[str, Architecture] = _ARCHITECTURES

_VARIANTS = {name: variant for entry in _ARCHITECTURES.values() for name, variant in entry.variants.items()}
VARIANTS: Mapping[str, Variant] = _VARIANTS

PLUGINS = "restoralib.archs"
"""The group of entry points by which other packages bring architectures."""


def find_architecture(cls: type[nn.Module]) -> Architecture | None:
    """The entry of a network's class; None for a class that the table does not have."""
    return next((entry for entry in ARCHITECTURES.values() if cls in entry.classes), None)


def register_arch(name: str, architecture: Architecture) -> None:
    """Put an architecture of one's own into the table, for this process.

    Its checkpoints are then recognised by `load_model`, its variants built by `create_model`, and the hub takes its networks. A
    package that is installed with an entry point in the group `restoralib.archs` is found by itself; see `load_plugins`.

    Args:
        name: of the architecture.
        architecture: what the table keeps of it. Entering the same again changes nothing.

    Raises:
        TypeError: it is no Architecture, or its classes are no networks.
        ValueError: the name, a variant's or a class's is another's already, or a variant is of a class that is not its own.
    """
    if not isinstance(architecture, Architecture):
        raise TypeError(f"{name!r} should be an Architecture, got {type(architecture).__name__}")
    if not architecture.classes or not all(
        isinstance(cls, type) and issubclass(cls, nn.Module) for cls in architecture.classes
    ):
        raise TypeError(f"the classes of {name!r} should be nn.Modules, got {architecture.classes}")
    if _ARCHITECTURES.get(name) is architecture:
        return
    if not name.isidentifier():
        raise ValueError(f"the name of an architecture should be an identifier such as 'mynet', got {name!r}")
    taken = {
        "architecture": [name] if name in _ARCHITECTURES else [],
        "variant": [one for one in architecture.variants if one in _VARIANTS],
        "class": sorted(
            {cls.__name__ for cls in architecture.classes}
            & {cls.__name__ for entry in _ARCHITECTURES.values() for cls in entry.classes}
        ),
    }
    for kind, names in taken.items():
        if names:
            raise ValueError(f"there is a{'n' * (kind == 'architecture')} {kind} {names[0]!r} already; choose another name")
    foreign = [one for one, variant in architecture.variants.items() if variant.cls not in architecture.classes]
    if foreign:
        raise ValueError(f"the variant {foreign[0]!r} is of a class that {name!r} does not list; add it to its classes")
    _ARCHITECTURES[name] = architecture
    _VARIANTS.update(architecture.variants)


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Register the architectures that installed packages bring, once in a process.

    This is done when a name or a checkpoint is asked for that is not known, and when models are listed; never by an import.
    An entry point of the group `restoralib.archs` names an Architecture: `mynet = "mypackage.net:ARCHITECTURE"`.

    Returns:
        Names of the architectures that were added.

    Warns:
        UserWarning: a plug-in cannot be imported or registered; the others are.
    """
    from importlib.metadata import entry_points

    added = []
    for point in entry_points(group=PLUGINS):
        try:
            register_arch(point.name, point.load())
        except Exception as error:  # whatever a plug-in does must not keep the library from working
            origin = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"the plug-in {point.name!r}{origin} is left out, for it cannot be loaded ({reason})", stacklevel=2)
        else:
            added.append(point.name)
    return tuple(added)
