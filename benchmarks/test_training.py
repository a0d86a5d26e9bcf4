"""Steps per second of the training loop beside a loop that does nothing but train."""

import itertools
import time

import pytest
import torch

from restoralib import create_model
from restoralib.losses import l1_loss
from restoralib.training.loop import Schedule, train

STEPS, ROUNDS = 10, 7
CONFIG = {"width": 16, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}


def batch(generator, device):
    clean = torch.rand(4, 3, 32, 32, generator=generator)
    return (clean + 0.1 * torch.randn(clean.shape, generator=generator)).to(device), clean.to(device)


def plain(net, device):
    """Forward, backward, clip and step."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for step in range(STEPS):
        noisy, clean = batch(torch.Generator().manual_seed(step), device)
        optimizer.zero_grad(set_to_none=True)
        l1_loss(net(noisy), clean).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()


@pytest.fixture
def inference():
    """Training needs gradients; in place of the fixture that switches them off."""


def test_the_loop_costs_little_beside_a_plain_one(tmp_path, device, record_property, capsys):
    def loss(net, generator):
        noisy, clean = batch(generator, device)
        return l1_loss(net(noisy), clean)

    def ours(net, number):
        train(net, loss, Schedule(STEPS), checkpoint=tmp_path / f"{number}.pt", every=STEPS)

    nets = [create_model("nafnet_sidd_width32", **CONFIG).to(device) for _ in range(2)]
    plain(nets[0], device)
    ours(nets[1], "warm")
    seconds = []
    for number in range(ROUNDS):  # interleaved, so that a busy moment of the machine hits both alike
        marks = [time.perf_counter()]
        for run in (lambda: plain(nets[0], device), lambda number=number: ours(nets[1], number)):
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())
        seconds.append([after - before for before, after in itertools.pairwise(marks)])
    bare, whole = (min(column) for column in zip(*seconds, strict=True))  # the least disturbed of each
    with capsys.disabled():
        print(f"\n{STEPS / whole:.1f} steps a second, {STEPS / bare:.1f} in a plain loop: {whole / bare:.2f} times the time")
    record_property("loop / plain", whole / bare)
    assert whole < 1.3 * bare, "average, seeds, state and log cost less than a third"
