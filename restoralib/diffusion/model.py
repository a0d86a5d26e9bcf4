"""A network and the diffusion that it was trained for: process, prediction, condition, time and range, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from restoralib.archs import VARIANTS, ConditionalNAFNet, ConditionalUNet, GuidedUNet, NetSpec, PaletteUNet, SR3UNet
from restoralib.diffusion.conditional import gamma, noise_level
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import PREDICTIONS, Denoised, Denoiser, Prediction, denoiser
from restoralib.diffusion.i2sb import I2SB
from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.process import Process
from restoralib.ops.schedules import cosine_betas, cosine_thetas, linear_betas

Condition = Literal["none", "argument", "before", "after"]
CONDITIONS = ("none", "argument", "before", "after")


@dataclass(frozen=True)
class DiffusionModel:
    """A network with all that a sampler has to know of its training.

    Args:
        net: the network, or a callable like it.
        process: the process that it was trained for.
        prediction: what it predicts: "eps", "x0", "v", "score" or "velocity"; "label" is I2SB's.
        condition: how it is given the degraded image: not at all ("none"), as its second argument ("argument"), or as channels
            before or after those of the state ("before", "after").
        time: what it is told of a time of the process; None: the time itself.
        low: what it calls 0.
        high: what it calls 1.
        clip: cut its clean images to this range, as most references do.
        learned_variance: it gives twice the channels, the second half being the variance between its bounds.
        channels: of its images.
        multiple: the sides of its tiles are best multiples of this.
        scale: what the degraded image is enlarged by before, by bicubic interpolation; for networks with a condition.
        name: what errors call it.

    Raises:
        ValueError: an argument is none of these, or the prediction or the scale does not fit the rest.
    """

    net: Callable[..., Tensor]
    process: Process
    prediction: Prediction | Literal["label"] = "eps"
    condition: Condition = "none"
    time: Callable[[Tensor], Tensor] | None = None
    low: float = -1.0
    high: float = 1.0
    clip: bool = True
    learned_variance: bool = False
    channels: int = 3
    multiple: int = 1
    scale: int = 1
    name: str = "the network"

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"unknown condition {self.condition!r}; choose one of {', '.join(CONDITIONS)}")
        if self.prediction not in (*PREDICTIONS, "label"):
            raise ValueError(f"unknown prediction {self.prediction!r}; choose one of {', '.join(PREDICTIONS)} or label")
        if self.prediction == "label" and not isinstance(self.process, I2SB):
            raise ValueError(f"prediction 'label' is that of I2SB, not of {type(self.process).__name__}")
        if not self.high > self.low:
            raise ValueError(f"expected low < high, got {self.low} and {self.high}")
        if not isinstance(self.scale, int) or self.scale < 1:
            raise ValueError(f"scale should be at least 1 and whole, got {self.scale!r}")
        if self.scale > 1 and not self.conditional:
            raise ValueError(f"{self.name} takes no degraded image to enlarge; its operator tells the scale")

    @property
    def conditional(self) -> bool:
        """Whether the degraded image goes into the network or its process."""
        return self.condition != "none" or self.process.uses_target

    def denoiser(self, y: Tensor | None = None, *, clip: bool = True) -> Denoiser:
        """The network as a denoiser, bound to a degraded image.

        Args:
            y: the degraded image in the network's range and of the state's size, where the network is conditional.
            clip: False to leave clean images as they are, whatever `self.clip` says.
        """
        bounds = (self.low, self.high) if self.clip and clip else None
        bound = partial(_bind, self.net, self.condition, y)
        if self.prediction != "label":
            variance = self.learned_variance
            return denoiser(bound, self.process, self.prediction, y=y, learned_variance=variance, time=self.time, clip=bounds)
        labels, process = denoiser(bound, self.process, "x0", time=self.time), self.process
        assert isinstance(process, I2SB)

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            x0 = process.clean_from_label(x, labels(x, t).x0, t)
            return Denoised(x0 if bounds is None else x0.clamp(*bounds))

        return denoise


def _bind(net: Callable[..., Tensor], condition: Condition, y: Tensor | None, x: Tensor, time: Tensor) -> Tensor:
    """What a network says of a state, given the degraded image in its way."""
    if condition == "none":
        return net(x, time)
    assert y is not None
    if condition == "argument":
        return net(x, y, time)
    return net(torch.cat((y, x) if condition == "before" else (x, y), 1), time)


def diffusion_model(net: Callable[..., Any], *, process: Process | None = None, scale: int | None = None) -> DiffusionModel:
    """A diffusion network of `restoralib.archs` with what its authors trained it with.

    - `ConditionalUNet`: IR-SDE, T 100, cosine, eps 0.005, lambda 10/255 as for rain and blur, 30/255 with the layers of
      `irsde_deshadow`; images in [0, 1]; told the degraded image and t.
    - `ConditionalNAFNet`: the same with lambda 50/255.
    - `SR3UNet`: DDPM, T 2000, linear from 1e-6 to 1e-2; [-1, 1]; told the enlarged image and sqrt(alpha_bar).
    - `PaletteUNet`: DDPM, T 1000, linear from 1e-4 to 0.09, as its code tests; [-1, 1]; the degraded image and alpha_bar.
    - `GuidedUNet`: DDPM, T 1000, linear from 1e-4 to 0.02, or cosine with the layers of `adm_imagenet64`; [-1, 1]; t.

    Weights do not tell the process. A network that was trained with another is given it: IR-SDE's inpainting has lambda 30/255,
    GOUB's networks are `ConditionalUNet`s with a `GOUB`, I2SB's are `GuidedUNet`s with an `I2SB`.

    Args:
        net: the network; or a `functools.partial` of it, with the label of a class.
        process: what it was trained for; None for the table's.
        scale: enlarge the degraded image by this first; None for that of the published weights with these layers, else 1.

    Raises:
        TypeError: the network is none of these, or the process is of another kind; build the `DiffusionModel` itself.
        ValueError: the network needs a label, or takes no image that could be enlarged.
    """
    inner: Any = net.func if isinstance(net, partial) else net
    name = type(inner).__name__
    for kind, (make, fitting) in _FAMILIES.items():
        if isinstance(inner, kind):
            if process is not None and not isinstance(process, fitting):
                expected = " or ".join(each.__name__ for each in fitting)
                raise TypeError(
                    f"{name} goes with {expected}, got {type(process).__name__}; for another diffusion build the DiffusionModel"
                )
            spec: NetSpec = inner.spec
            model = replace(make(inner, process), net=net, multiple=spec.multiple, name=name)
            if "label" in spec.inputs and not (isinstance(net, partial) and "label" in net.keywords):
                raise ValueError(
                    f"{name} restores no image by itself: it was trained with classes, so pass it with one: "
                    "functools.partial(net, label=torch.tensor([207]))"
                )
            if not model.conditional:
                return model if scale is None else replace(model, scale=scale)
            factors = {int(task[2:]) for task in spec.tasks if task[:2] == "sr" and task[2:].isdecimal()}
            return replace(model, scale=scale if scale is not None else factors.pop() if len(factors) == 1 else 1)
    raise TypeError(
        f"no diffusion is known for {name}; build restoralib.diffusion.DiffusionModel with its process, prediction and range"
    )


def _mean_reverting(net: Any, process: Process | None, lam: float = 10 / 255) -> DiffusionModel:
    # By the layers alone, irsde_inpaint is irsde_derain_rain100h.
    shadow = VARIANTS["irsde_deshadow"].config
    if isinstance(net, ConditionalUNet) and (len(net.downs), net.init_conv.out_channels) == (shadow["depth"], shadow["nf"]):
        lam = 30 / 255
    process = process or IRSDE(cosine_thetas(100), lam)
    channels = net.spec.in_channels
    return DiffusionModel(net, process, condition="argument", low=0.0, high=1.0, clip=False, channels=channels)


def _refusion(net: Any, process: Process | None) -> DiffusionModel:
    return _mean_reverting(net, process, 50 / 255)


def _sr3(net: Any, process: Any) -> DiffusionModel:
    process = process or DDPM(linear_betas(2000, 1e-6, 1e-2))
    return DiffusionModel(net, process, condition="before", time=noise_level(process), channels=net.spec.out_channels)


def _palette(net: Any, process: Any) -> DiffusionModel:
    process = process or DDPM(linear_betas(1000, 1e-4, 0.09))
    return DiffusionModel(net, process, condition="before", time=gamma(process), channels=net.spec.out_channels)


def _guided(net: Any, process: Any) -> DiffusionModel:
    inputs, outputs = net.spec.in_channels, net.spec.out_channels
    if isinstance(process, I2SB):
        condition: Condition = "after" if inputs == 2 * outputs else "none"
        return DiffusionModel(net, process, "label", condition, time=process.network_time, clip=False, channels=outputs)
    small = VARIANTS["adm_imagenet64"].config
    is_small = net.label_emb is not None and net.time_embed.channels == small["model_channels"]
    process = process or DDPM(cosine_betas(1000) if is_small else linear_betas(1000))
    return DiffusionModel(net, process, learned_variance=outputs == 2 * inputs, channels=inputs)


_FAMILIES: dict[Any, tuple[Callable[[Any, Any], DiffusionModel], tuple[type[Process], ...]]] = {
    ConditionalUNet: (_mean_reverting, (IRSDE,)),
    ConditionalNAFNet: (_refusion, (IRSDE,)),
    SR3UNet: (_sr3, (DDPM,)),
    PaletteUNet: (_palette, (DDPM,)),
    GuidedUNet: (_guided, (DDPM, I2SB)),
}
