"""A small training loop: AdamW, average of the weights, warm-up, plateau and cosine decay, exact resume.

Batch number n depends on the seed and on n alone, so a run that was stopped and resumed gives the weights of one that was not.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Loss = Callable[[nn.Module, torch.Generator], Tensor]
Validate = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Args:
        steps: optimizer steps in all.
        rate: learning rate of the plateau.
        warmup: steps of linear rise to it.
        decay: fraction of the steps, at the end, over which it falls to zero along a cosine. Until the decay begins, a run does
            not depend on `steps`, so that it can be resumed with fewer or more.
        betas: momenta of AdamW.
        weight_decay: of AdamW.
        ema: decay of the running average of the weights.
    """

    steps: int
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.4
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: float = 0.0
    ema: float = 0.999

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rate = self.rate * min(1.0, (step + 1) / self.warmup)
        remaining = (self.steps - step) / max(1.0, self.decay * self.steps)
        return rate if remaining >= 1 else rate * 0.5 * (1 - math.cos(math.pi * remaining))


def save_atomically(value: object, path: Path) -> None:
    """Write with torch.save so that the file is there whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    torch.save(value, temporary)
    os.replace(temporary, path)


def train(
    net: nn.Module,
    loss: Loss,
    schedule: Schedule,
    *,
    checkpoint: Path,
    seed: int = 0,
    every: int = 500,
    validate: Validate | None = None,
) -> nn.Module:
    """Train a network and return its average over the last steps.

    Args:
        net: the network, on its device; trained in place.
        loss: draws a batch from the given generator and returns the scalar loss of the network on it.
        schedule: steps and learning rates.
        checkpoint: file of the state, read at the start where it exists and written every `every` steps.
        seed: of the batches.
        every: steps between checkpoints, log lines and validations.
        validate: figure of a network, larger is better, for the log.

    Returns:
        A copy of the network with averaged weights, in eval mode.
    """
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), schedule.rate, schedule.betas, weight_decay=schedule.weight_decay)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
        logger.info("resumed at step %d", start)

    net.train()
    began, values = time.monotonic(), []
    for step in range(start, schedule.steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        value = loss(net, generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        # At the start the average follows quickly, so that it does not remember the random weights.
        weight = 1 - min(schedule.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in net.parameters()], weight)
        values.append(value.detach())

        done = step + 1
        if done % every == 0 or done == schedule.steps:
            state = {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
            }
            save_atomically(state, checkpoint)
            figure = f", validation {validate(average):.3f}" if validate else ""
            mean = torch.stack(values).mean().item()
            logger.info("step %d of %d, loss %.4f%s, %.0f s", done, schedule.steps, mean, figure, time.monotonic() - began)
            values.clear()
    return average
