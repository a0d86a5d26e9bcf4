"""Diffusion models in `restore`: one state and one noise for a whole picture, and tiles for the network alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.diffusion import DiffusionModel, DiffusionRestorer, diffusion_model
from restoralib.ops.tile import plan_tiles
from restoralib.restoration.color import check_channels, restore_channels
from restoralib.restoration.errors import OutOfMemory, refuse
from restoralib.restoration.memory import by_smaller_tiles
from restoralib.restoration.network import Network, bound, choose_device, choose_dtype, placed, unbound
from restoralib.restoration.plan import TileSize, choose_tile
from restoralib.restoration.run import Progress

_OVERLAP = 32


def diffusion_restorer(
    model: Callable[..., Any] | DiffusionModel | DiffusionRestorer, **options: Any
) -> DiffusionRestorer | None:
    """The restorer that a model is, or that is made of it and the arguments of `DiffusionRestorer`.

    Returns:
        None for a model that restores in one call.

    Raises:
        ValueError: the arguments do not fit the model, or it can only be sampled with more of them.
        TypeError: nothing is known of the network's diffusion.
    """
    given = {name: value for name, value in options.items() if value is not None and not (name == "sigma" and value == 0)}
    if isinstance(model, DiffusionRestorer):
        if given:
            raise ValueError(f"a DiffusionRestorer knows its {' and '.join(given)}; change it by dataclasses.replace")
        return model
    if isinstance(model, DiffusionModel):
        scale = given.get("scale")
        return DiffusionRestorer(replace(model, scale=scale) if scale and model.conditional else model, **given)
    inner = unbound(model)
    spec = getattr(inner, "spec", None)
    if not isinstance(spec, NetSpec) or spec.role != "denoiser":
        if given:
            raise ValueError(f"{' and '.join(given)}: only for diffusion models, which {_name(inner)} is not")
        return None
    try:
        known = diffusion_model(model)
    except TypeError as error:
        raise ValueError(f"{_name(inner)} restores no image by itself: {error}") from error
    return diffusion_restorer(known, **given)


def refuse_for_diffusion(**asked: Any) -> None:
    """Refuse arguments that are for networks that restore in one call.

    Raises:
        ValueError: one of them is there.
    """
    refuse("only for models that restore in one call; a diffusion takes many", **asked)


class Diffusion:
    """A restorer on a device and in a precision, for pictures of one size.

    Args:
        restorer: what to run.
        image: (b, c, h, w), what is to be restored.
        device, dtype, strict: as in `restore`.

    Raises:
        ValueError: the device or the type is unknown, or the image has other channels than the network.
    """

    def __init__(
        self,
        restorer: DiffusionRestorer,
        image: Tensor,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        strict: bool = False,
    ) -> None:
        model = restorer.model
        inner = unbound(model.net)
        place = choose_device(device, None if isinstance(inner, nn.Module) else image.device)
        self.spec = NetSpec(restorer.factor, model.channels, model.channels, model.multiple, None, ("diffusion",))
        check_channels(self.spec, image.shape[1])
        self.network = Network(model.net, self.spec, place, choose_dtype(dtype), strict)
        if isinstance(inner, nn.Module):
            ready = placed(inner, place, self.network.full)
            self.network.model = bound(ready, model.net, place, self.network.full) if isinstance(model.net, partial) else ready
        self.restorer = replace(restorer, model=replace(model, net=self._call))
        self.progress = Progress()

    def _call(self, *inputs: Tensor) -> Tensor:
        """The network, under autocast where asked for, counted."""
        state, *others = inputs
        result = self.network.run(state.contiguous(memory_format=torch.channels_last), *others).contiguous()
        self.progress.advance(1, "sample")
        return result

    def restore(
        self, images: Sequence[Tensor], *, tile: TileSize, overlap: int | None, seed: int | None, progress: Progress
    ) -> list[Tensor]:
        """Restore images (b, c, h, w) of one size, by smaller tiles than asked where these do not fit into memory.

        Raises:
            ValueError: the guidance needs the whole picture, and the tile is smaller.
            OutOfMemory: not even small tiles fit, or the guidance needs the whole picture.
        """
        self.progress = progress
        height, width = (self.spec.scale * side for side in images[0].shape[-2:])
        asked = None if tile == "auto" and self.restorer.needs_whole else tile
        one = replace(self.spec, scale=1)
        side = choose_tile((height, width), asked, one, self.network.device, 1, self.network.bytes_per_pixel)
        side = (min(side[0], height), min(side[1], width))
        if seed is None:
            seed = int(torch.randint(2**62, ()))  # from the caller's generator, once
        attempt = partial(self._restore, images, overlap=overlap, seed=seed)
        return by_smaller_tiles(attempt, side, self.network.device, self._give_up, shrink=not self.restorer.needs_whole)

    def _give_up(self, side: tuple[int, int], reason: str) -> OutOfMemory:
        return OutOfMemory(
            f"{side[0]} x {side[1]} pixels in {self.network.dtype} do not fit into the memory of {self.network.device}, and "
            f"smaller tiles cannot be had ({reason}); free memory, try another device, or a guidance without gradients"
        )

    def _restore(self, images: Sequence[Tensor], side: tuple[int, int], *, overlap: int | None, seed: int) -> list[Tensor]:
        """Restore images whose network sees tiles of one size."""
        height, width = (self.spec.scale * length for length in images[0].shape[-2:])
        cut = side[0] < height or side[1] < width
        smallest = min((length for length, all_ in zip(side, (height, width), strict=True) if length < all_), default=0)
        shared = min(_OVERLAP, smallest // 4) if overlap is None else overlap
        multiple = self.restorer.model.multiple
        tiles = len(plan_tiles(height, side[0], shared, multiple)) * len(plan_tiles(width, side[1], shared, multiple))
        alone = self.spec.in_channels == 1  # the channels of a colour image are samples of their own
        samples = sum(len(image) * (image.shape[1] if alone else 1) for image in images)
        self.progress.begin(samples * self.restorer.calls() * tiles)
        # A picture that is cut stays where it is, and only tiles go to the device.
        device = images[0].device if cut else self.network.device
        run = partial(self.restorer, tile=side if cut else None, overlap=shared, device=self.network.device if cut else None)

        def sampled(degraded: Tensor, number: int) -> Tensor:
            noises = (torch.Generator().manual_seed(seed + number) for _ in degraded)
            return torch.cat([run(one[None], noise=noise) for one, noise in zip(degraded, noises, strict=True)])

        def restored(image: Tensor) -> Tensor:
            ones = image.to(device, self.network.full).split(1)  # type: ignore[no-untyped-call]
            results = (restore_channels(partial(sampled, number=n), self.spec, one) for n, one in enumerate(ones))
            return torch.cat([result.to(image.device) for result in results])

        return [restored(image) for image in images]


def _name(model: Any) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", type(model).__name__)
