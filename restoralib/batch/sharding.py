"""Parts of a list for the processes of a cluster, and numbers that belong to an item and not to its place in the list."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def shard(items: Iterable[Item], rank: int, world: int, *, key: Callable[[Item], Any] = lambda item: item) -> list[Item]:
    """The part of a list that one of several processes does.

    An item's part depends on its name and on `world` alone: not on the order of the list, nor on what else is in it.

    Args:
        items: paths, names or numbers; each is in exactly one part.
        rank: 0 to world - 1.
        world: how many parts there are.
        key: an item's name, a str, bytes or path; others go by their `str`.

    Raises:
        ValueError: there is no such part.
    """
    if world < 1 or not 0 <= rank < world:
        raise ValueError(f"rank should be 0 to world - 1, got rank {rank} of world {world}")
    return list(items) if world == 1 else [item for item in items if _number(key(item)) % world == rank]


def item_seed(seed: int, item: Any) -> int:
    """A seed for one item, from a seed for all and the item's name; 0 to 2^62 - 1."""
    return _number(str(seed), item) >> 2


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8", the second of eight parts, as (rank, world) = (1, 8).

    Raises:
        ValueError: it is no such text.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number) - 1, int(count)
    raise ValueError(f"a shard is I/N, from 1/N to N/N, got {text!r}")


def processes(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """(rank, world) of this process, from torchrun's variables RANK and WORLD_SIZE; (0, 1) without both.

    Raises:
        ValueError: they are no such numbers.
    """
    environment = os.environ if environment is None else environment
    if not {"RANK", "WORLD_SIZE"} <= set(environment):
        return 0, 1
    rank, world = environment["RANK"], environment["WORLD_SIZE"]
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise ValueError(
            f"RANK should be 0 to WORLD_SIZE - 1, got RANK={rank} and WORLD_SIZE={world}; unset both, or mend them"
        )
    return int(rank), int(world)


def process_device(environment: Mapping[str, str] | None = None) -> str:
    """The GPU of this process among those of its machine, from torchrun's LOCAL_RANK; "auto" where there is no such."""
    import torch

    local = (os.environ if environment is None else environment).get("LOCAL_RANK", "")
    if not local.isdecimal() or not torch.cuda.is_available():
        return "auto"
    return f"cuda:{int(local) % torch.cuda.device_count()}"


def wait_for_others() -> None:
    """Wait until all processes of torchrun come here: it stops the others when one ends with an error."""
    import torch.distributed as dist

    if processes()[1] == 1 or "MASTER_ADDR" not in os.environ or not dist.is_available():
        return
    try:
        dist.init_process_group("gloo", timeout=timedelta(days=30))
        dist.barrier()
        dist.destroy_process_group()
    except (RuntimeError, ValueError) as error:
        logger.warning("could not wait for the other processes (%s)", error)


def nested(inner: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int]:
    """The part (rank, world) of a part: processes of torchrun within a shard of a job array."""
    return outer[0] * inner[1] + inner[0], outer[1] * inner[1]


def _number(*names: Any) -> int:
    """64 bits of a hash."""
    digest = hashlib.sha256()
    for name in names:
        if isinstance(name, os.PathLike):
            name = os.fspath(name)
        data = name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest()[:8], "little")
