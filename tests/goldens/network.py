"""A golden file of a network, read and run by what its metadata say.

`NAME.safetensors` holds inputs and expected outputs, `NAME.keys.json` lists the reference's state dict as [key, shape, dtype].
Of the metadata, all text or JSON, `class` and `config` say what to build, `call` the inputs by position (an inner list is one
argument), `keywords` those by name, `arguments` what is no tensor, `steps` several method calls instead. `aliases` are keys
that share the tensor of another key, `unfilled` those that keep the constructor's value; a tensor `state.KEY` replaces the
filled value of KEY. `input_range` and `output_range` stand where the reference's images do not lie in [0, 1], latent
networks excepted. `stand_in` and `velocity_rule` are formulas in the place of a network, for those who run the file.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from goldens.fill import fill
from safetensors import safe_open
from torch import Tensor, nn

from restoralib.checkpoints import recognize, skeleton

# Classes with the keys of a sister class: the caller has to say which is meant.
SISTERS = {"NAFNet", "NAFNetLocal", "Baseline", "BaselineLocal"}

# An entry that is not known here could change what the network has to do: such a file fails.
ENTRIES = {
    *("class", "arch", "source", "notes", "params", "config", "variant", "part", "mode", "layout", "original_config"),
    *("call", "keywords", "arguments", "steps", "outputs", "intermediates", "input_range", "output_range"),
    *("aliases", "unfilled", "unrecorded", "unclamped_from", "fp32_error", "tolerance", "stand_in", "velocity_rule"),
}


class Golden:
    """One golden file of a network."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.metadata: dict[str, str] = file.metadata()
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        unknown = self.metadata.keys() - ENTRIES
        assert not unknown, f"{path.name} has metadata that the driver does not know: {sorted(unknown)}"
        keys = path.with_suffix(".keys.json")  # a function has none
        self.keys: list[tuple[str, list[int], str]] = json.loads(keys.read_text()) if keys.exists() else []

    def json(self, entry: str, default: Any = None) -> Any:
        return json.loads(self.metadata[entry]) if entry in self.metadata else default

    @property
    def config(self) -> dict[str, Any]:
        variant = {"variant": self.metadata["variant"]} if "variant" in self.metadata else {}
        return {**self.json("config"), **variant}

    def state_dict(self) -> dict[str, Tensor]:
        """The filled weights, without the unfilled keys."""
        aliases, unfilled = self.json("aliases", {}), self.json("unfilled", ())
        filled = {}
        for key, shape, _ in self.keys:
            if f"state.{key}" in self.tensors:
                filled[key] = self.tensors[f"state.{key}"]
            elif key not in unfilled:
                filled[key] = torch.from_numpy(fill(aliases.get(key, key), tuple(shape)))
        return filled

    def errors(self, net: nn.Module, dtype: torch.dtype) -> dict[str, float]:
        """Run the network in a precision; the largest error of each output, relative to its largest value.

        Float32 rounds what comes before a clamp, and that may be a thousand times as large as what comes after (how it rounds
        depends on the processor): there the error of a clamped output is relative to the largest value before the clamp.
        """
        net.to(dtype)
        kept: dict[str, Tensor] = {}
        if "unclamped_from" in self.metadata:
            layer = net.get_submodule(self.metadata["unclamped_from"])
            handle = layer.register_forward_hook(lambda module, inputs, output: kept.update(unclamped=output))
        results = self._run(net.get_submodule(self.metadata["part"]) if "part" in self.metadata else net, dtype) | kept
        if kept:
            handle.remove()
        expected = [name for name in self.tensors if name.startswith("output") or name == "unclamped"]
        assert set(expected) == set(results), f"expected {expected}, got {list(results)}"
        rounded = [self.tensors["unclamped"]] if kept and dtype == torch.float32 else []
        return {name: relative_error(results[name], self.tensors[name], *rounded) for name in expected}

    @torch.inference_mode()
    def _run(self, net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
        given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in self.tensors.items()}
        names = list(self.json("outputs", {"output": ""}))
        if "steps" in self.metadata:
            for name, method, inputs in self.json("steps"):
                call = getattr(net.eval(), method)
                known = inspect.signature(call).parameters
                further = {key: value for key, value in self.json("arguments", {}).items() if key in known}
                given[name] = call(*(_take(given, item) for item in inputs), **further)
            return {name: given[name] for name, *_ in self.json("steps")}
        call = self.json("call")
        given[call[0]] = _to_unit(given[call[0]], self.metadata.get("input_range"))
        inputs = [_take(given, item) for item in call]
        keywords = {name: given[name] for name in self.json("keywords", ())} | self.json("arguments", {})
        results = list(_flat(net.eval()(*inputs, **keywords)))
        if self.metadata.get("mode") == "train":
            (alone,) = results
            results = list(_flat(net.train()(*inputs, **keywords)))
            assert torch.equal(alone, results[0]), "evaluation should give the first output of training"
        assert len(results) == len(names), f"expected {names}, got {len(results)} outputs"
        results[0] = _from_unit(results[0], self.metadata.get("output_range"))
        return dict(zip(names, results, strict=True))


def keys_of(net: nn.Module) -> list[list[Any]]:
    """The state dict as the lists of keys have it."""
    return [[key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in net.state_dict().items()]


def shapes_of(net: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in net.state_dict().items()}


def check_recognised(cls, config, shapes, unrecorded=()):
    """Configurations are compared by what they make: several ratios, for example, round to the same width."""
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes}
    told = recognize(state, arch=cls.__name__ if cls.__name__ in SISTERS else None)
    assert told.cls is cls
    theirs = skeleton(cls, config)
    free = {name: value for name, value in config.items() if name in {*theirs.spec.unrecorded, *unrecorded}}
    ours = skeleton(cls, told.config | free)
    assert replace(ours.spec, tasks=()) == replace(theirs.spec, tasks=())
    assert shapes_of(ours) == shapes_of(theirs)


def relative_error(ours: Tensor, golden: Tensor, *rounded: Tensor) -> float:
    """The largest error, relative to the largest value of the golden or of what is rounded."""
    assert ours.shape == golden.shape, f"expected shape {tuple(golden.shape)}, got {tuple(ours.shape)}"
    scale = max(tensor.double().abs().max() for tensor in (golden, *rounded))
    return ((ours.double() - golden.double()).abs().max() / scale).item()


def _take(given: dict[str, Tensor], item: str | list) -> Tensor | list:
    """The tensor of a name, its first channels for a name like `output_0[:4]`, a list for a list."""
    if isinstance(item, list):
        return [_take(given, inner) for inner in item]
    name, channels = re.fullmatch(r"(\w+)(?:\[:(\d+)\])?", item).groups()
    return given[name] if channels is None else given[name][:, : int(channels)]


def _flat(result: Tensor | list | tuple) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    else:
        for item in result:
            yield from _flat(item)


def _imagenet(like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return like.new_tensor(mean)[:, None, None], like.new_tensor(std)[:, None, None]


def _to_unit(image: Tensor, values: str | None) -> Tensor:
    """An image of a reference's range in [0, 1]."""
    if values is None:
        return image
    if values == "imagenet":
        mean, std = _imagenet(image)
        return image * std + mean
    assert values == "-1..1", values
    return (image + 1) / 2


def _from_unit(image: Tensor, values: str | None) -> Tensor:
    """The inverse of `_to_unit`."""
    if values is None:
        return image
    if values == "imagenet":
        mean, std = _imagenet(image)
        return (image - mean) / std
    assert values == "-1..1", values
    return 2 * image - 1
