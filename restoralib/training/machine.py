"""Where training runs: this process alone, or several by accelerate, which torchrun or `accelerate launch` has started.

The loop asks a machine for what differs, and is the same on both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class Machine:
    """One process that trains by itself."""

    rank = 0
    world = 1
    sharded = False
    """Whether each process keeps its share of the weights alone."""

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network as its loss calls it."""
        return net

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def gather_later(self, net: nn.Module) -> AbstractContextManager[object]:
        """A context in which gradients stay in this process."""
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of some numbers over all processes."""
        return values

    def wait(self) -> None:
        """Go on when all processes are here."""


class Accelerated(Machine):
    """One of several processes, by accelerate.

    Args:
        accelerator: which knows the others.

    Raises:
        ValueError: it was set up for something that this loop cannot do.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        kind = _kind(accelerator)
        if kind in ("DEEPSPEED", "MEGATRON_LM", "TP"):
            raise ValueError(f"the loop trains by DDP or FSDP2, not by {kind}; set one of them up")
        if kind == "FSDP" and not accelerator.is_fsdp2:
            raise ValueError("the loop cuts weights up by FSDP2; set fsdp_version: 2 in accelerate's configuration")
        self.accelerator = accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes

    def wrap(self, net: nn.Module) -> nn.Module:
        return self.accelerator.prepare(net)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def gather_later(self, net: nn.Module) -> AbstractContextManager[object]:
        return self.accelerator.no_sync(net)

    def mean(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "mean")  # type: ignore[return-value]

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


class Sharded(Accelerated):
    """One of several processes that share the weights; `restoralib.training.sharding` has cut the networks up."""

    sharded = True

    def wrap(self, net: nn.Module) -> nn.Module:
        return net

    @contextmanager
    def gather_later(self, net: nn.Module) -> Iterator[None]:
        net.set_requires_gradient_sync(False)  # type: ignore[operator]
        try:
            yield
        finally:
            net.set_requires_gradient_sync(True)  # type: ignore[operator]


def _kind(accelerator: Accelerator) -> str:
    return str(getattr(accelerator.distributed_type, "value", "NO"))


def find_machine(device: torch.device, accelerator: Accelerator | None = None, *, shard: bool = False) -> Machine:
    """The machine for the process that runs.

    Args:
        device: where the networks are.
        accelerator: one of the caller's own; without it, one is made where torchrun started several processes.
        shard: share the weights among the processes, as an accelerator that was set up for FSDP does anyhow. One process
            has all of them.

    Raises:
        ImportError: several processes were started, and accelerate is not installed.
    """
    if accelerator is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ModuleNotFoundError as error:
            raise ImportError('several processes need accelerate; pip install "restoralib[train]"') from error
        # Buffers stay each process's own: a discriminator is called twice before its gradients are taken.
        plain = DistributedDataParallelKwargs(broadcast_buffers=False)
        accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[plain])
    if accelerator is None:
        return Machine()
    several = accelerator.num_processes > 1
    return Sharded(accelerator) if several and (shard or _kind(accelerator) == "FSDP") else Accelerated(accelerator)
