"""Muon makes matrices orthogonal, leaves the rest to Adam, and resumes exactly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs import NAFNet
from restoralib.training.loop import Schedule, train
from restoralib.training.muon import Muon, is_matrix, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (16, 144), (72, 24), (1, 5)])
def test_singular_values_move_close_to_one_and_singular_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = orthogonalised(matrix)
    assert turned.shape == matrix.shape
    values = torch.linalg.svdvals(turned)
    assert values.max() < 1.3
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    # A small singular value is lifted only as far as five iterations go.
    assert (torch.linalg.svdvals(turned)[: int((s > 0.1 * s[0]).sum())] > 0.5).all()
    rotated = u.T @ turned @ vh.T
    torch.testing.assert_close(rotated, torch.diag(rotated.diagonal()), atol=1e-10, rtol=0)


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(4, 6)), torch.zeros(4, 6))


def test_depthwise_norm_and_image_weights_are_left_to_adam():
    net = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,))
    turned = {name for name, parameter in net.named_parameters() if is_matrix(parameter)}
    assert "encoders.0.0.conv1.weight" in turned and "downs.0.weight" in turned
    assert not turned & {"intro.weight", "ending.weight", "encoders.0.0.conv2.weight", "encoders.0.0.norm1.weight"}
    assert {len(group["params"]) for group in Muon(net, 1e-3).param_groups} == {
        len(turned),
        len(list(net.parameters())) - len(turned),
    }


def test_the_adam_part_is_torchs_adamw():
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    second.load_state_dict(first.state_dict())
    ours = Muon(first, 1e-2, (0.8, 0.95), 0.1)
    theirs = torch.optim.AdamW(second.parameters(), 1e-2, (0.8, 0.95), weight_decay=0.1)
    for _ in range(5):
        image = torch.randn(2, 3, 8, 8)
        for net, optimizer in ((first, ours), (second, theirs)):
            optimizer.zero_grad()
            net(image).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_matrix_is_learned():
    torch.manual_seed(0)
    net, goal, image = nn.Linear(12, 8, bias=False), torch.randn(8, 12) / 3, torch.randn(64, 12)
    optimizer = Muon(net, 2e-3)

    def loss():
        optimizer.zero_grad()
        value = F.mse_loss(net(image), image @ goal.T)
        value.backward()
        return value

    before = loss().item()
    values = [optimizer.step(loss).item() for _ in range(150)]
    assert values[-1] < 0.02 * before


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    def run(steps, name):
        torch.manual_seed(0)
        net = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,))
        schedule = Schedule(steps, rate=1e-3, warmup=0, decay=0.0, ema=0.5, optimizer="muon")

        def loss(net, generator):
            image = torch.rand(2, 3, 16, 16, generator=generator)
            return F.l1_loss(net(image), image.flip(1))

        return train(net, loss, schedule, checkpoint=tmp_path / name, every=2)

    whole = run(6, "whole.pt")
    run(4, "parts.pt")
    resumed = run(6, "parts.pt")
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="adamw or muon, got 'sgd'"):
        Schedule(10, optimizer="sgd")
