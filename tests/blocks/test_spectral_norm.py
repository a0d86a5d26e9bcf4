"""The spectrally normalised convolution against torch's and against the singular values."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm

from restoralib.blocks import SpectralNormConv2d


def pair():
    """Ours and torch's, with the same weights and vectors."""
    torch.manual_seed(0)
    ours = SpectralNormConv2d(3, 5, 4, stride=2, padding=1).double()
    theirs = spectral_norm(nn.Conv2d(3, 5, 4, stride=2, padding=1, bias=False)).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_keys_and_their_order_are_torchs():
    ours, theirs = pair()
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight_orig", "weight_u", "weight_v"]


@pytest.mark.parametrize("training", [True, False])
def test_it_does_as_torchs(training):
    (ours, theirs), x = pair(), torch.randn(2, 3, 8, 6, dtype=torch.float64)
    ours.train(training), theirs.train(training)
    for _ in range(3):
        outputs = ours(x), theirs(x)
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.square().sum().backward()
        torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)
        torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))


def test_training_finds_the_largest_singular_value():
    ours, _ = pair()
    for _ in range(50):
        ours.weight()
    norm = torch.linalg.matrix_norm(ours.eval().weight().flatten(1), 2)
    torch.testing.assert_close(norm, torch.ones_like(norm))


def test_a_network_that_has_run_in_training_can_be_copied():
    ours, x = SpectralNormConv2d(3, 5, 3), torch.randn(1, 3, 4, 4)
    ours(x)
    torch.testing.assert_close(copy.deepcopy(ours).eval()(x), ours.eval()(x))


def test_several_passes_before_the_backward_pass_are_allowed():
    ours, x = SpectralNormConv2d(3, 5, 3), torch.randn(1, 3, 4, 4)
    (ours(x).sum() + ours(x + 1).square().sum()).backward()
    assert ours.weight_orig.grad.isfinite().all() and ours.weight_orig.grad.any()


def test_training_compiles_in_one_graph_and_updates_the_vectors():
    torch.compiler.reset()
    ours, x = SpectralNormConv2d(3, 5, 3), torch.randn(1, 3, 4, 4)
    twin = copy.deepcopy(ours)
    torch.testing.assert_close(torch.compile(ours, backend="aot_eager", fullgraph=True)(x), twin(x))
    torch.testing.assert_close(ours.state_dict(), twin.state_dict())


def test_autocast_divides_in_full_precision():
    ours = SpectralNormConv2d(64, 64, 3)
    expected = copy.deepcopy(ours).weight()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours.weight(), expected)


def test_its_text_tells_the_sizes():
    assert "3, 5, kernel_size=4, stride=2, padding=1" in repr(SpectralNormConv2d(3, 5, 4, 2, 1))
