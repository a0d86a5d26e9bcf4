"""Latent restorers in `restore`: one latent and one noise for a whole picture, and tiles for both networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from restoralib.latent.restorer import LatentRestorer
from restoralib.restoration.color import check_channels, restore_channels
from restoralib.restoration.errors import OutOfMemory, refuse
from restoralib.restoration.memory import by_smaller_tiles
from restoralib.restoration.network import Network, choose_device, choose_dtype, placed
from restoralib.restoration.plan import TileSize, choose_tile
from restoralib.restoration.run import Progress


def refuse_for_latent(**asked: Any) -> None:
    """Refuse arguments that a latent restorer has no use for.

    Raises:
        ValueError: one of them is there.
    """
    refuse(
        "not for a LatentRestorer, whose networks have learned their degradation and are sampled by Euler's method; steps, "
        "seed, tile and overlap are",
        **asked,
    )


class Latent:
    """A latent restorer on a device and in a precision.

    Args:
        restorer: what to run; its own copy is moved where need be.
        image: (b, c, h, w), what is to be restored.
        steps: of the flow; None for the restorer's.
        device, dtype, strict: as in `restore`.

    Raises:
        ValueError: the device or the type is unknown, the steps are none, or the image has other channels than the networks.
    """

    def __init__(
        self,
        restorer: LatentRestorer,
        image: Tensor,
        *,
        steps: int | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        strict: bool = False,
    ) -> None:
        self.spec = restorer.spec
        check_channels(self.spec, image.shape[1])
        self.calls = restorer.calls(steps)
        self.steps = steps
        self.network = Network(restorer, self.spec, choose_device(device), choose_dtype(dtype), strict)
        self.restorer = placed(restorer, self.network.device, self.network.full)

    def restore(
        self, images: Sequence[Tensor], *, tile: TileSize, overlap: int | None, seed: int | None, progress: Progress
    ) -> list[Tensor]:
        """Restore images (b, c, h, w) of one size, by smaller tiles than asked where these do not fit into memory.

        Raises:
            OutOfMemory: not even small tiles fit.
            ValueError: the tile is no size, or the overlap is negative or no smaller than a tile.
        """
        if overlap is not None and overlap < 0:
            raise ValueError(f"overlap should not be negative, got {overlap}")
        size = (images[0].shape[-2], images[0].shape[-1])
        side = choose_tile(size, tile, self.spec, self.network.device, 1)
        if seed is None:
            seed = int(torch.randint(2**62, ()))  # from the caller's generator, once
        attempt = partial(self._restore, images, overlap=overlap, seed=seed, progress=progress)
        return by_smaller_tiles(attempt, side, self.network.device, self._give_up)

    def _give_up(self, side: tuple[int, int], reason: str) -> OutOfMemory:
        return OutOfMemory(
            f"tiles of {side[0]} x {side[1]} in {self.network.dtype} do not fit into the memory of {self.network.device}, and "
            f"smaller ones cannot be had ({reason}); free memory, or try another device"
        )

    def _restore(
        self, images: Sequence[Tensor], side: tuple[int, int], *, overlap: int | None, seed: int, progress: Progress
    ) -> list[Tensor]:
        assert isinstance(self.restorer, LatentRestorer)
        token = self.restorer.token
        channels: int = self.restorer.autoencoder.channels
        height, width = images[0].shape[-2:]
        # A tile that holds the image ends with its last token, any other is a whole number of tokens.
        rows, columns = self.restorer.latent_size(height, width)
        whole = (rows * self.restorer.autoencoder.factor, columns * self.restorer.autoencoder.factor)
        tile = tuple(
            all_ if asked >= length else max(token, asked // token * token)
            for asked, length, all_ in zip(side, (height, width), whole, strict=True)
        )
        shared = min(self.restorer.overlap, min(tile) // 4) if overlap is None else overlap
        told = 0

        def advance(done: int, total: int, stage: str) -> None:
            nonlocal told  # what overflows in half precision begins anew, and is counted once
            progress.advance(int(done > told), stage)
            told = max(told, done)

        self.network.model = partial(
            self.restorer, steps=self.steps, tile=tile, overlap=shared // token * token, progress=advance
        )
        samples = sum(len(image) for image in images)
        progress.begin(samples * self.calls)

        def sampled(degraded: Tensor, number: int) -> Tensor:
            nonlocal told
            told = 0
            noise = torch.randn(1, channels, rows, columns, generator=torch.Generator().manual_seed(seed + number))
            return self.network.run(degraded, noise=noise.to(degraded))

        def restored(image: Tensor) -> Tensor:
            ones = image.to(self.network.device, self.network.full).split(1)  # type: ignore[no-untyped-call]
            results = (restore_channels(partial(sampled, number=n), self.spec, one) for n, one in enumerate(ones))
            return torch.cat([result.to(image.device) for result in results])

        return [restored(image) for image in images]
