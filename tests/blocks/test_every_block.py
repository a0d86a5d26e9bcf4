"""What holds for every block: any height and width, gradients, half precision, compilation, copies."""

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import restoralib.blocks
from restoralib import blocks

SIZES = [(1, 1), (1, 5), (7, 1), (5, 7), (8, 8)]


def image(channels: int, scale: int = 1) -> Callable[[int, int], Tensor]:
    return lambda height, width: torch.randn(2, channels, scale * height, scale * width)


def tokens(height: int, width: int) -> Tensor:
    return torch.randn(2, height * width, 8)


def windows(height: int, width: int) -> Tensor:
    return torch.randn(2, height * width, 9, 8)


def times(height: int, width: int) -> Tensor:
    return torch.rand(height * width)


def vectors(height: int, width: int) -> Tensor:
    return torch.randn(height * width, 8)


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    input: Callable[[int, int], Tensor]
    shape: Callable[[int, int], tuple[int, ...]]
    """Of the (first) output for an input of that height and width."""


def same(build: Callable[[], nn.Module], channels: int = 8) -> Case:
    return Case(build, image(channels), lambda h, w: (2, channels, h, w))


class WithPrior(nn.Module):
    """A block that takes a prior vector beside the image, here a learned one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.prior = nn.Parameter(torch.empty(1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.prior)


class WithVectors(nn.Module):
    """A block that takes vectors beside the image, here learned ones."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.vectors = nn.Parameter(torch.empty(1, 3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.vectors)


class WithTable(nn.Module):
    """A block that takes an embedding from a table."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.table = blocks.DegradationTable(6, ["noise", "blur"])

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.table(["noise", "blur"]))


class WithTime(nn.Module):
    """A block that takes an embedding of time beside the image, here a learned one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.emb = nn.Parameter(torch.empty(1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.emb)


CASES = {
    "SCA": same(lambda: blocks.SCA(8)),
    "CALayer": same(lambda: blocks.CALayer(8, reduction=2)),
    "MeanShift": same(lambda: blocks.MeanShift(1.0), 3),
    "ChannelAttention": same(lambda: blocks.ChannelAttention(8)),
    "LayerNorm2d": same(lambda: blocks.LayerNorm2d(8)),
    "LocalMean": same(lambda: blocks.LocalMean((2, 2))),
    "RMSNorm": Case(lambda: blocks.RMSNorm(8), tokens, lambda h, w: (2, h * w, 8)),
    "RMSNorm2d": same(lambda: blocks.RMSNorm2d(8)),
    "GLUMBConv": same(lambda: blocks.GLUMBConv(8, 8, 2.5, "rms_norm")),
    "WithBiasLayerNorm": same(lambda: blocks.WithBiasLayerNorm(8)),
    "BiasFreeLayerNorm": same(lambda: blocks.BiasFreeLayerNorm(8)),
    "WindowAttention": Case(lambda: blocks.WindowAttention(8, 2, window_size=3), windows, lambda h, w: (2, h * w, 9, 8)),
    "STL": same(lambda: blocks.STL(8, 2, window_size=4, shift_size=2)),
    "RSTB": same(lambda: blocks.RSTB(8, 2, 2, window_size=4)),
    "MDTA": same(lambda: blocks.MDTA(8, heads=2)),
    "GDFN": same(lambda: blocks.GDFN(8)),
    "RestormerBlock": same(lambda: blocks.RestormerBlock(8, heads=2)),
    "DMTA": same(lambda: WithPrior(blocks.DMTA(8, heads=2, prior_features=6))),
    "DGFN": same(lambda: WithPrior(blocks.DGFN(8, prior_features=6))),
    "NAFBlock": same(lambda: blocks.NAFBlock(8)),
    "ResidualBlock": same(lambda: blocks.ResidualBlock(8, residual_scale=0.1)),
    "NormResBlock": Case(lambda: blocks.NormResBlock(8, 12, groups=4), image(8), lambda h, w: (2, 12, h, w)),
    "ResidualDenseBlock": same(lambda: blocks.ResidualDenseBlock(8, 4)),
    "RRDB": same(lambda: blocks.RRDB(8, 4)),
    "SpatialTransformer": same(lambda: WithVectors(blocks.SpatialTransformer(32, 6, heads=2, head_dim=16)), 32),
    "SpectralNormConv2d": same(lambda: blocks.SpectralNormConv2d(8, 8, 3, padding=1).eval()),
    "AttentionBlock": same(lambda: blocks.AttentionBlock(64, heads=2), 64),
    "SoftmaxLinearAttention": same(lambda: blocks.SoftmaxLinearAttention(8, heads=2, head_dim=6)),
    "TimedResBlock": same(lambda: WithTime(blocks.TimedResBlock(64, 6, use_scale_shift_norm=True)), 64),
    "TimedSequential": Case(
        lambda: WithTime(blocks.TimedSequential(blocks.TimedResBlock(64, 6, 32), nn.SiLU())),
        image(64),
        lambda h, w: (2, 32, h, w),
    ),
    "FeatureModulation": same(lambda: WithVectors(blocks.FeatureModulation(8, 6))),
    "CrossAttention": same(lambda: WithVectors(blocks.CrossAttention(8, 6, heads=2))),
    "DegradationTable": same(lambda: WithTable(blocks.FeatureModulation(8, 6))),
    "DegradationPrompt": Case(lambda: blocks.DegradationPrompt(8, 6), vectors, lambda h, w: (h * w, 6)),
    "GainLayerNorm": same(lambda: blocks.GainLayerNorm(8)),
    "NearestUpsample": Case(lambda: blocks.NearestUpsample(8, 6), image(8), lambda h, w: (2, 6, 2 * h, 2 * w)),
    "HalvingDownsample": Case(lambda: blocks.HalvingDownsample(8, 6), image(8, 2), lambda h, w: (2, 6, h, w)),
    "CornerDownsample": Case(lambda: blocks.CornerDownsample(8), image(8, 2), lambda h, w: (2, 8, h, w)),
    "SimpleGate": Case(blocks.SimpleGate, image(8), lambda h, w: (2, 4, h, w)),
    "GlobalMean": Case(blocks.GlobalMean, image(8), lambda h, w: (2, 8, 1, 1)),
    "ChannelGram": Case(lambda: blocks.ChannelGram(heads=2), image(8), lambda h, w: (2, 2, 2, 4)),
    "PixelShuffleDirect": Case(lambda: blocks.PixelShuffleDirect(8, 3, 5), image(8), lambda h, w: (2, 5, 3 * h, 3 * w)),
    "PixelShuffleUpsample": Case(lambda: blocks.PixelShuffleUpsample(8, 4), image(8), lambda h, w: (2, 8, 4 * h, 4 * w)),
    "PixelUnshuffleDownsample": Case(lambda: blocks.PixelUnshuffleDownsample(8), image(8, 2), lambda h, w: (2, 16, h, w)),
    "TransposedConvUpsample": Case(lambda: blocks.TransposedConvUpsample(8, 3), image(8), lambda h, w: (2, 8, 3 * h, 3 * w)),
    "LinearAttention": Case(lambda: blocks.LinearAttention(8, heads=2, head_dim=6), tokens, lambda h, w: (2, h * w, 8)),
    "TimeEmbedding": Case(lambda: blocks.TimeEmbedding(8, 16, 12), times, lambda h, w: (h * w, 12)),
    "SinusoidalMLP": Case(
        lambda: blocks.SinusoidalMLP(8, nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 6), sine_first=True),
        times,
        lambda h, w: (h * w, 6),
    ),
    "FourierEmbedding": Case(lambda: blocks.FourierEmbedding(8, std=1.0, learned=True), times, lambda h, w: (h * w, 8)),
}
every_block = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


def built(case: Case) -> nn.Module:
    """With random weights everywhere: some blocks start as the identity, where most gradients vanish."""
    torch.manual_seed(0)
    block = case.build()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def test_the_table_has_every_block():
    classes = {
        name
        for name in restoralib.blocks.__all__
        if inspect.isclass(getattr(blocks, name)) and issubclass(getattr(blocks, name), nn.Module)
    }
    assert classes - {"GlobalReduction"} == set(CASES)


@every_block
@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_finite_output_of_the_documented_shape(case, size):
    output = first(built(case)(case.input(*size)))
    assert output.shape == case.shape(*size)
    assert output.isfinite().all()


@every_block
def test_every_parameter_and_the_input_get_a_gradient(case):
    block, x = built(case), case.input(5, 7).requires_grad_()
    output = first(block(x))
    output.backward(torch.randn_like(output))
    for name, tensor in [*block.named_parameters(), ("input", x)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any(), name


@every_block
def test_gradients_are_right(case):
    block, x = built(case).double(), case.input(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: first(block(x)), (x, *block.parameters()), fast_mode=True, atol=1e-4)


@every_block
@pytest.mark.parametrize("autocast", [False, True], ids=["converted", "autocast"])
def test_bfloat16_stays_near(case, autocast):
    block, x = built(case), case.input(5, 7)
    expected = first(block(x))
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            output = first(block(x))
    else:
        x = x.bfloat16() if x.ndim > 1 else x  # times and levels stay as they are
        output = first(block.bfloat16()(x))
        assert output.dtype == torch.bfloat16 or isinstance(block, blocks.GlobalReduction)  # sums may stay float32
    assert (output - expected).abs().max() <= 0.05 * expected.abs().max()


@every_block
def test_compiles_in_one_graph(case):
    block, x = built(case), case.input(5, 7)
    torch.testing.assert_close(first(torch.compile(block, backend="aot_eager", fullgraph=True)(x)), first(block(x)))


@every_block
def test_copies_and_pickles_give_the_same(case):
    block, x = built(case), case.input(5, 7)
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(first(twin(x)), first(block(x)))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.input not in (tokens, windows, times, vectors)])
def test_channels_last_gives_the_same(name):
    case = CASES[name]
    block, x = built(case), case.input(5, 7)
    output = block.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, built(case)(x), atol=1e-5, rtol=1e-4)
