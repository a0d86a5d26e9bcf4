"""Compiled where a compiler works, eager where it does not, and never an error for want of one."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from restoralib import compilation
from restoralib.archs import FSRCNN, SRResNet
from restoralib.compilation import available_backends, compile


@pytest.fixture
def net():
    return FSRCNN(2, d=4, s=3, m=1).eval()


@pytest.mark.parametrize(("backend", "level"), [("auto", logging.INFO), ("inductor", logging.WARNING)])
def test_without_a_compiler_a_network_runs_eagerly_and_the_log_says_why(backend, level, net, monkeypatch, caplog):
    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: "TritonMissing: no Triton")
    with caplog.at_level(logging.INFO, "restoralib.compilation"):
        assert compile(net, backend=backend) is net
    (record,) = caplog.records
    assert record.message == "FSRCNN runs eagerly on cpu: TritonMissing: no Triton" and record.levelno == level
    assert available_backends("cpu") == ("eager",)


class Broken(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.spec, self.net = net.spec, net

    def forward(self, image):
        raise RuntimeError("no such instruction\nand a long story")


def test_a_network_that_cannot_be_compiled_runs_eagerly(net, monkeypatch, caplog):
    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model, **options: Broken(model))
    with caplog.at_level(logging.INFO, "restoralib.compilation"):
        assert compile(net) is net
    assert caplog.records[0].message.endswith("RuntimeError: no such instruction")


class Wrapped(nn.Module):
    """Stands for what torch.compile gives."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, *inputs):
        return self.net(*inputs)


@pytest.mark.parametrize(("backend", "slowness", "kept"), [("auto", 0.5, True), ("auto", 1.5, False), ("inductor", 1.5, True)])
def test_the_faster_form_is_kept(backend, slowness, kept, net, monkeypatch, caplog):
    calls = []

    def seconds(module, inputs):
        calls.append((module, inputs[0].shape[-2:]))
        # The first calls are slow whoever makes them, and one of the later ones is disturbed.
        return 0.03 * (slowness if isinstance(module, Wrapped) else 1) * (20 if len(calls) in (1, 6) else 1)

    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model, **options: Wrapped(model))
    monkeypatch.setattr(compilation, "_seconds", seconds)
    with caplog.at_level(logging.INFO, "restoralib.compilation"):
        assert isinstance(compile(net, backend=backend), Wrapped) == kept
    timed = [module for module, _ in calls[2:]]
    assert all(isinstance(module, Wrapped) == bool(number % 2) for number, module in enumerate(timed)) and len(timed) >= 6
    assert {size for _, size in calls} == {(128, 129)}
    assert f"{1 / slowness:.2f} times as fast" in caplog.records[0].message


def test_small_images_are_enlarged_until_the_clock_can_tell(net, monkeypatch):
    sizes = []

    def seconds(module, inputs):
        sizes.append(tuple(inputs[0].shape[-2:]))
        return 1e-4

    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model, **options: Wrapped(model))
    monkeypatch.setattr(compilation, "_seconds", seconds)
    assert compile(net) is net  # equally fast: nothing to gain
    assert dict.fromkeys(sizes) == dict.fromkeys([(128, 129), (256, 257)])


def test_other_modules_are_timed_on_what_the_caller_gives(monkeypatch):
    module, given = nn.Linear(4, 4), (torch.rand(2, 4),)
    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model, **options: Wrapped(model))
    assert isinstance(compile(module), Wrapped)  # nobody knows what to call it with
    monkeypatch.setattr(compilation, "_seconds", lambda module, inputs: 2.0 if isinstance(module, Wrapped) else 1.0)
    assert compile(module, inputs=given) is module


def test_no_size_is_compiled_anew(net, monkeypatch):
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    torch.compiler.reset()
    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model, **options: real(model, backend=count, fullgraph=True, **options))
    compiled = compile(net, backend="inductor")
    assert compiled is not net and len(graphs) == 1
    with torch.inference_mode():
        for size in ((97, 120), (128, 128), (131, 99)):
            image = torch.rand(1, 1, *size)
            torch.testing.assert_close(compiled(image), net(image))
    assert len(graphs) == 1


@pytest.mark.parametrize("works", [True, False])
def test_the_trial_changes_neither_statistics_nor_modes_nor_the_random_state(works, monkeypatch):
    def wrapped(model, **options):
        return model if works else Broken(model)

    net = SRResNet(num_rcb=1, upscale=2, channels=8).train()
    frozen = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes, random = [module.training for module in net.modules()], torch.get_rng_state()
    monkeypatch.setattr(compilation, "_inductor_fault", lambda device: None)
    monkeypatch.setattr(torch, "compile", wrapped)
    compile(net)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes and net.training and not frozen.training
    assert torch.equal(torch.get_rng_state(), random)


def test_eager_changes_nothing(net):
    assert compile(net, backend="eager") is net


def test_an_unknown_backend_is_named(net):
    with pytest.raises(ValueError, match="unknown backend 'triton'; choose auto, inductor or eager"):
        compile(net, backend="triton")


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_at_every_size(net):
    compiled = compile(net, backend="inductor")
    assert compiled.spec == net.spec and (compiled is net) == (available_backends() == ("eager",))
    for size in ((48, 64), (31, 9), (5, 120)):
        image = torch.rand(1, 1, *size)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(image), net(image))
