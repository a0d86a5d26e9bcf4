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
    compiled = compile(net)
    assert compiled.spec == net.spec and (compiled is net) == (available_backends() == ("eager",))
    for size in ((48, 64), (31, 9), (5, 120)):
        image = torch.rand(1, 1, *size)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(image), net(image))
