"""A small training loop: AdamW, averages of the weights, accumulation, half precision, several networks in turn, exact resume.

Batch number n depends on the seed and on n alone, and so do the numbers that networks draw for dropout: a run that was stopped
and resumed gives the weights of one that was not. Two processes with a batch each do what one does with two to a step.
"""

from __future__ import annotations

import copy
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from restoralib.restoration.errors import OutOfMemory, is_out_of_memory
from restoralib.training.logs import Log
from restoralib.training.machine import Machine, find_machine
from restoralib.training.muon import Muon
from restoralib.training.schedule import Schedule
from restoralib.training.sharding import cut_like, cut_net_state, cut_optimizer_state, gathered, is_cut, own_share, shard_net
from restoralib.training.state import StateError, check_fit, load_state, save_atomically

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "Loss",
    "Schedule",
    "Share",
    "Source",
    "StateError",
    "Turn",
    "Validate",
    "save_atomically",
    "train",
    "train_together",
]

logger = logging.getLogger(__name__)

Nets = Mapping[str, nn.Module]
Loss = Callable[[nn.Module, torch.Generator], Tensor]
Validate = Callable[[nn.Module], float]
Pictures = Callable[[nn.Module], Mapping[str, Tensor]]
Precision = Literal["float32", "bfloat16", "float16"]
ProgressCallback = Callable[[int, int, str], Any]

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Share:
    """Which batches of a run are those of this process.

    Args:
        rank: number of the process.
        world: processes in all.
        accumulate: batches that each of them takes to a step.
    """

    rank: int = 0
    world: int = 1
    accumulate: int = 1

    def numbers(self, step: int) -> Iterator[int]:
        """Numbers of this process's batches, from a step on."""
        return (number * self.world + self.rank for number in itertools.count(step * self.accumulate))


Source = Callable[[int, Share], Iterator[Any]]
"""The batches of a share from a step on."""


@dataclass(frozen=True)
class Turn:
    """What one network does at every step.

    Args:
        loss: the scalar loss for a batch, from all networks by name; only this turn's learns from it.
        schedule: steps, learning rates and the rest.
    """

    loss: Callable[[Nets, Any], Tensor]
    schedule: Schedule


class Options(TypedDict, total=False):
    """The further arguments of `train` and `train_together`."""

    seed: int
    every: int
    accumulate: int
    precision: Precision
    pictures: Pictures | None
    log: Path | None
    tensorboard: bool
    progress: ProgressCallback | None
    accelerator: Accelerator | None
    shard: bool


def train(
    net: nn.Module,
    loss: Loss,
    schedule: Schedule,
    *,
    checkpoint: Path,
    validate: Validate | None = None,
    **options: Unpack[Options],
) -> nn.Module:
    """Train a network and return its average over the last steps.

    Args:
        net: the network, on its device; trained in place.
        loss: draws a batch from the given generator and returns the scalar loss of the network on it.
        schedule: steps and learning rates.
        checkpoint: file of the state, read at the start where it exists and written every `every` steps.
        validate: figure of a network, larger is better, for the log.
        options: further arguments of `train_together`.

    Returns:
        A copy of the network with averaged weights, in eval mode.

    Raises:
        ValueError, OSError, RuntimeError: as `train_together` raises them.
    """
    seed = options.get("seed", 0)

    def generators(step: int, share: Share) -> Iterator[torch.Generator]:
        return (torch.Generator().manual_seed(seed * 1_000_003 + number) for number in share.numbers(step))

    turns = {"net": Turn(lambda nets, generator: loss(nets["net"], generator), schedule)}
    return train_together({"net": net}, turns, generators, checkpoint=checkpoint, validate=validate, **options)["net"]


def train_together(
    nets: Nets,
    turns: Mapping[str, Turn],
    source: Source,
    *,
    checkpoint: Path,
    validate: Validate | None = None,
    seed: int = 0,
    every: int = 500,
    accumulate: int = 1,
    precision: Precision = "float32",
    pictures: Pictures | None = None,
    log: Path | None = None,
    tensorboard: bool = False,
    progress: ProgressCallback | None = None,
    accelerator: Accelerator | None = None,
    shard: bool = False,
) -> dict[str, nn.Module]:
    """Train networks that take turns at every step, such as a generator and a discriminator.

    Under torchrun, every process calls it alike; the first one saves and validates.

    Args:
        nets: the networks by name, on their device; trained in place.
        turns: what each of them does, in order. All see the same batches; what one turn leaves in a batch that is a dictionary,
            the next one finds.
        source: gives the batches.
        checkpoint: file of the state, read at the start where it exists and written every `every` steps.
        validate: figure of the first network, larger is better, for the log.
        seed: of the numbers that networks draw, for dropout.
        every: steps between checkpoints, log lines and validations.
        accumulate: batches whose gradients are averaged for a step.
        precision: of the losses; "bfloat16" and "float16" by autocast, the latter with scaled gradients.
        pictures: pictures of the first network's work by name, (c, h, w), written into the log's folder at every validation.
        log: folder for `log.csv`, pictures and TensorBoard's files.
        tensorboard: write these files.
        progress: called after every step with the steps done, their number in all and the loss as text.
        accelerator: to train on several machines in a way of one's own; found by itself under torchrun.
        shard: cut weights, gradients and moments up among the processes (FSDP2), as an accelerator that is set up for FSDP
            does anyhow. `nets` stay cut up; states and results are whole. Losses have to call the networks themselves.

    Returns:
        Copies of the networks with averaged weights, in eval mode.

    Raises:
        ValueError: arguments do not fit; a StateError, where the checkpoint is damaged or of other networks.
        OSError: a state cannot be written; the one before is still there.
        OutOfMemory: a batch does not fit into memory; the message says what to lower.
        FloatingPointError: the loss is no longer finite; the last state is from before.
        ImportError: several processes need accelerate, or TensorBoard is not there.
    """
    if nets.keys() != turns.keys() or not nets:
        raise ValueError(f"every network takes a turn, got networks {', '.join(nets)} and turns {', '.join(turns)}")
    if accumulate < 1 or every < 1 or precision not in _TYPES:
        raise ValueError(
            "expected accumulate and every of 1 or more, and precision float32, bfloat16 or float16, got "
            f"{accumulate}, {every} and {precision!r}"
        )
    if len({turn.schedule.steps for turn in turns.values()}) > 1:
        raise ValueError("all turns of a run have the same number of steps")
    first = next(iter(nets))
    steps, device = turns[first].schedule.steps, next(nets[first].parameters()).device
    machine = find_machine(device, accelerator, shard=shard)
    players = [_Player(name, nets, turns[name], machine, device, precision) for name in turns]
    state = load_state(checkpoint)
    start = 0
    if state is not None:
        check_fit(checkpoint, state["parts"], nets)
        for player in players:
            player.restore(state["parts"][player.name])
        start = state["step"]
        logger.info("resumed at step %d", start)
    for player in players:
        player.net = machine.wrap(player.net)

    journal = Log(log, step=start, tensorboard=tensorboard) if log is not None and machine.rank == 0 else None
    batches = source(start, Share(machine.rank, machine.world, accumulate))
    numbers = Share(machine.rank, machine.world, accumulate).numbers(start)
    began, values = time.monotonic(), []
    with _own_randomness(device):
        for step in range(start, steps):
            parts = [(next(numbers), next(batches)) for _ in range(accumulate)]
            with _explained(parts[0][1], accumulate, precision, device):
                losses = [player.step(step, nets, parts, seed * 1_000_003, place) for place, player in enumerate(players)]
            values.append(torch.stack(losses))
            done = step + 1
            if progress is not None:
                progress(done, steps, f"loss {float(losses[0]):.4f}" if done % 10 == 0 or done == steps else "")
            if done % every and done != steps:
                continue
            means = machine.mean(torch.stack(values).mean(0)).tolist()
            values.clear()
            if not all(torch.tensor(means).isfinite()):
                raise FloatingPointError(
                    f"the loss is {means[0]} by step {done}; {checkpoint} is from before. Lower the learning rate, clip "
                    "gradients more, or take precision bfloat16 or float32"
                )
            # Shares are gathered from all processes.
            parts_of = {player.name: player.state() for player in players if machine.sharded or machine.rank == 0}
            if machine.rank == 0:
                save_atomically({"step": done, "parts": parts_of}, checkpoint)
                average = players[0].shown()
                figures = {"loss" if k == 0 else f"loss_{p.name}": means[k] for k, p in enumerate(players)}
                figures["rate"] = players[0].schedule.rate_at(step)
                if validate is not None:
                    figures["validation"] = validate(average)
                told = f", validation {figures['validation']:.3f}" if validate is not None else ""
                others = "".join(f", {p.name} {means[k]:.4f}" for k, p in enumerate(players) if k)
                seconds = time.monotonic() - began
                logger.info("step %d of %d, loss %.4f%s%s, %.0f s", done, steps, means[0], others, told, seconds)
                if journal is not None:
                    journal.figures(done, figures)
                    if pictures is not None:
                        journal.pictures(done, pictures(average))
            machine.wait()
    if journal is not None:
        journal.close()
    return {player.name: player.finish() for player in players}


class _Player:
    """A network with its optimizer, average and scaler."""

    def __init__(self, name: str, nets: Nets, turn: Turn, machine: Machine, device: torch.device, precision: Precision) -> None:
        self.name, self.turn, self.schedule, self.machine, self.device = name, turn, turn.schedule, machine, device
        self.raw = self.net = nets[name]
        schedule = self.schedule
        self.average = copy.deepcopy(self.raw).eval().requires_grad_(False)
        self.means: list[Tensor] = list(self.average.parameters())
        if machine.sharded:
            # The average is cut up like the rest; a whole one waits where memory is cheap.
            if schedule.optimizer == "muon":
                raise ValueError("Muon turns whole matrices, which sharding cuts up; take optimizer adamw, or no sharding")
            self.average.cpu()
            shard_net(self.raw, device, machine.world)
            self.means = [parameter.detach().clone() for parameter in self.raw.parameters()]
        self.learning = [parameter for parameter in self.raw.parameters() if parameter.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if schedule.optimizer == "muon":
            self.optimizer = Muon(self.raw, schedule.rate, schedule.betas, schedule.weight_decay)
        else:
            self.optimizer = torch.optim.AdamW(
                self.raw.parameters(), schedule.rate, schedule.betas, weight_decay=schedule.weight_decay
            )
        self.dtype = _TYPES[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.raw.train()

    def state(self) -> dict[str, Any]:
        """Whole, whether the network is cut up or not; then on the CPU."""
        self._fill()
        sides: dict[str, Any] = {"net": self.raw, "average": self.average, "optimizer": self.optimizer, "scaler": self.scaler}
        states = {key: dict(side.state_dict()) for key, side in sides.items()}
        return gathered(states) if self.machine.sharded else states

    def restore(self, state: Mapping[str, Any]) -> None:
        self.raw.load_state_dict(cut_net_state(state["net"], self.raw))
        self.average.load_state_dict(state["average"])
        for mean, whole in zip(self.means, self.average.parameters(), strict=True):
            mean.copy_(cut_like(whole, mean))
        self.optimizer.load_state_dict(cut_optimizer_state(state["optimizer"], self.optimizer))
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])

    def step(self, step: int, nets: Nets, parts: list[tuple[int, Any]], seed: int, place: int) -> Tensor:
        """One step on some batches; the mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        values = []
        with _frozen(other for name, other in nets.items() if name != self.name):
            for number, (batch_number, batch) in enumerate(parts):
                _seed((seed + batch_number) * len(nets) + place, self.device)
                whole = number + 1 == len(parts)
                with nullcontext() if whole else self.machine.gather_later(self.net):
                    with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                        value = self.turn.loss({**nets, self.name: self.net}, batch)
                    self.machine.backward(self.scaler.scale(value / len(parts)))
                values.append(value.detach())
        if self.schedule.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.learning, self.schedule.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # At the start the average follows quickly, so that it does not remember the random weights.
        weight = 1 - min(self.schedule.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(
            [own_share(mean) for mean in self.means], [own_share(p.detach()) for p in self.raw.parameters()], weight
        )
        for mean, buffer in zip(self.average.buffers(), self.raw.buffers(), strict=True):
            mean.copy_(buffer)
        return torch.stack(values).mean()

    def _fill(self) -> None:
        """Put the average together from its shares, with all other processes."""
        if self.machine.sharded:
            for whole, mean in zip(self.average.parameters(), self.means, strict=True):
                whole.copy_(gathered(mean))

    def shown(self) -> nn.Module:
        """The average of the last state, on the device."""
        return copy.deepcopy(self.average).to(self.device) if self.machine.sharded else self.average

    def finish(self) -> nn.Module:
        """The average, whole, on the device."""
        self._fill()
        return self.average.to(self.device)


@contextmanager
def _frozen(nets: Iterator[nn.Module]) -> Iterator[None]:
    """Keep gradients out of some networks; they still flow through them.

    Those that are cut up get them, and lose them before their own turn: FSDP settles what learns once, at the first call.
    """
    parameters = [p for net in nets for p in net.parameters() if p.requires_grad and not is_cut(p)]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Give the caller's generators their states back at the end."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _seed(seed: int, device: torch.device) -> None:
    """Seed what networks draw from, on the CPU and on the device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def _explained(batch: Any, accumulate: int, precision: Precision, device: torch.device) -> Iterator[None]:
    """Say what to lower where a step does not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        sizes = [tuple(value.shape) for value in batch.values() if isinstance(value, Tensor)] if isinstance(batch, dict) else []
        what = f"a batch of {' and '.join(map(str, dict.fromkeys(sizes)))}" if sizes else "a batch"
        half = "" if precision != "float32" else ", precision bfloat16"
        reason = str(error).partition("\n")[0]
        raise OutOfMemory(
            f"{what} does not fit into the memory of {device} ({reason}); lower the batch and raise accumulate, now "
            f"{accumulate}, by the same factor, which trains alike, or lower the patch{half}"
        ) from error
