"""What the handlers of golden trajectories share: reading a file, its exact denoiser, its schedule and its grid."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from restoralib.diffusion import DDPM, Denoised, Process, denoiser, training_steps
from restoralib.ops.schedules import cosine_betas, linear_betas, sqrt_linear_betas, zero_terminal_snr

Outputs = dict[str, Tensor]
Handler = Callable[["Golden"], Outputs]


@dataclass
class Golden:
    """One file: metadata and tensors, all in float64."""

    name: str
    method: str
    config: dict[str, Any]
    noise: dict[str, Any]
    tolerance: float
    tensors: dict[str, Tensor]
    calls: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """(state, time, network output) of every call of `network`."""

    @classmethod
    def read(cls, path: Path) -> Golden:
        with safe_open(path, "pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name).double() for name in file.keys()}  # noqa: SIM118
        return cls(
            name=told["name"],
            method=told["method"],
            config=json.loads(told["config"]),
            noise=json.loads(told["noise"]),
            tolerance=float(told["tolerance"]),
            tensors=tensors,
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def outputs(self) -> set[str]:
        return {name for name in self.tensors if not name.startswith("in.")}

    def draws(self) -> list[Tensor]:
        """The stored noise, in order."""
        if self.noise["layout"] == "stacked":
            return list(self["in.noise"])
        if self.noise["layout"] == "numbered":
            return [self[f"in.noise.{number:03}"] for number in range(self.noise["count"])]
        return []

    def exact(self, process: Process, x: Tensor, t: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Every prediction of the exact denoiser of x0 ~ N(m, s^2)."""
        a, b, s = process.at(t, x)
        m, spread = self[self.config["mean"]], self.config["s"]
        rest = x - (b * y if y is not None else 0) - a * m
        variance = a**2 * spread**2 + s**2
        eps, x0 = s * rest / variance, m + a * spread**2 * rest / variance
        return {"eps": eps, "x0": x0, "score": -rest / variance, "v": a * eps - s * x0, "velocity": eps - x0}

    def denoiser(
        self,
        process: Process,
        *,
        y: Tensor | None = None,
        clip: tuple[float, float] | str | None = "config",
        time: Callable[[Tensor], Tensor] | None = None,
    ) -> Callable[[Tensor, Tensor], Denoised]:
        """The network of the file, wrapped; its calls are kept in `calls`."""
        bounds = self.config.get("clip_x0") if clip == "config" else clip
        channel = self.config.get("variance_channel")

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            def network(x: Tensor, _: Tensor) -> Tensor:
                value = self.exact(process, x, t, y)[self.config["prediction"]]
                self.calls.append((x, t if time is None else time(t), value))
                return torch.cat([value, x.tanh()], 1) if channel else value

            wrapped = denoiser(
                network,
                process,
                self.config["prediction"],
                y=y,
                learned_variance=bool(channel),
                clip=None if bounds is None else tuple(bounds),
            )
            return wrapped(x, t)

        return denoise

    def ddpm(self) -> DDPM:
        """The discrete process of the file's schedule."""
        return DDPM(betas(self.config))

    def steps(self) -> list[int]:
        """The training steps that are visited, from the noisiest on, without -1."""
        return training_steps(self.config["schedule"]["steps"], self.config["respacing"], self.config["respacing_mode"])


def betas(config: dict[str, Any]) -> Tensor:
    schedule = dict(config["schedule"])
    made = {"linear": linear_betas, "sqrt_linear": sqrt_linear_betas, "cosine": cosine_betas}[schedule.pop("name")](**schedule)
    return zero_terminal_snr(made) if config.get("rescale_betas_zero_snr") else made


class Trace:
    """A callback that keeps what a sampler passes through."""

    def __init__(self, start: Tensor) -> None:
        self.states = [start]
        self.pred_x0: list[Tensor] = []

    def __call__(self, x: Tensor, denoised: Denoised, t: Tensor, x_r: Tensor) -> None:
        self.pred_x0.append(denoised.x0)
        self.states.append(x_r)


def numbers(values: list[int] | list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
