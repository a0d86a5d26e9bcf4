"""Tiles that give the result of the whole image, by networks of finite reach and by networks with reductions over the image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from restoralib.archs import (
    FSRCNN,
    SRCNN,
    Baseline,
    DehazeFormer,
    MSRResNet,
    NAFNet,
    NAFNetLocal,
    PlainNet,
    Restormer,
    SRResNet,
    SwinIR,
)
from restoralib.archs.spec import NetSpec
from restoralib.restoration import OutOfMemory, restore
from restoralib.restoration.exact import make_exact
from restoralib.restoration.network import make_network


def random_weights(net):
    """Weights with which no part of a network is idle."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma", "temperature")):
            nn.init.normal_(parameter, 1, 0.3)
    return net.eval().double()


LOCAL = {
    "SRCNN": lambda: SRCNN(num_channels=3),
    "FSRCNN": lambda: FSRCNN(3, d=8, s=4, m=2),
    "MSRResNet": lambda: MSRResNet(num_feat=8, num_block=2, upscale=2),
    "SRResNet": lambda: SRResNet(channels=4, num_rcb=1, upscale=2),
    "PlainNet": lambda: PlainNet(width=8, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1)),
    "SwinIR": lambda: SwinIR(
        window_size=4, depths=(2,), embed_dim=8, num_heads=(2,), upscale=2, upsampler="pixelshuffledirect"
    ),
}
GLOBAL = {
    "NAFNet": lambda: NAFNet(width=4, enc_blk_nums=(1, 1), middle_blk_num=1, dec_blk_nums=(1, 1)),
    "Baseline": lambda: Baseline(width=4, enc_blk_nums=(1,), middle_blk_num=1, dec_blk_nums=(1,), dw_expand=1, ffn_expand=2),
    "Restormer": lambda: Restormer(dim=2, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 2, 2, 2)),
    # Pads to multiples of 4, but its windows need tiles on a grid of 16.
    "DehazeFormer": lambda: DehazeFormer(
        window_size=4,
        embed_dims=(4, 8, 8, 8, 4),
        depths=(1, 1, 2, 1, 1),
        num_heads=(1, 2, 2, 1, 1),
        attn_ratio=(0, 1, 1, 0, 0),
    ),
}


def worst(net, image, **options):
    """The largest difference from the untiled result."""
    whole = restore(image, net, dtype="float64", tile=None)
    return (restore(image, net, dtype="float64", **options) - whole).abs().max()


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("exact", [True, False])
def test_networks_of_finite_reach(name, exact):
    net = random_weights(LOCAL[name]())
    halo = net.spec.halo
    side = 4 * halo + 2 * net.spec.multiple
    image = torch.rand(1, 3, side + 13, 2 * side - 5, dtype=torch.float64)
    image = image if net.spec.color != "gray" else image[:, :1]
    assert worst(net, image, exact=exact, tile=side) <= 1e-12
    assert worst(net, image[..., :-2, :-3], exact=exact, tile=side, overlap=halo) <= 1e-12


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(20, 40), st.integers(1, 3))
def test_any_size_of_image_and_tile(height, width, tile, batch):
    net = FSRCNN(2, d=4, s=2, m=1).eval()
    nn.init.normal_(net.last_part.weight, std=0.1)
    image = torch.rand(3, height, width)
    difference = restore(image, net, exact=True, tile=tile, batch=batch) - restore(image, net, tile=None)
    assert difference.abs().max() <= 1e-5


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize(("more_rows", "more_columns"), [(0, 0), (9, 3)])
def test_networks_with_reductions_over_the_image(name, more_rows, more_columns):
    net = random_weights(GLOBAL[name]())
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    exact = make_exact(make_network(net, None, image, dtype="float64"))
    multiple = net.spec.multiple
    side = (2 * exact.reach // multiple + 3) * multiple
    image = torch.rand(1, 3, side + multiple + more_rows, 24 + more_columns, dtype=torch.float64)
    for x, tile in ((image, (side, 10_000)), (image.mT, side)):
        whole = restore(x, net, dtype="float64", tile=None)
        assert (restore(x, net, dtype="float64", tile=tile, exact=True) - whole).abs().max() <= 1e-12
        assert (restore(x, net, dtype="float64", tile=tile) - whole).abs().max() > 1e-7  # So the test tests something.


def test_color_and_batches_and_turns():
    net = random_weights(NAFNet(img_channel=1, width=4, enc_blk_nums=(1,), dec_blk_nums=(1,)))
    net.spec = NetSpec(in_channels=1, out_channels=1, halo=None, global_ops=("SCA",), multiple=2, color="gray")
    images = torch.rand(2, 3, 30, 41, dtype=torch.float64)
    assert worst(net, images, exact=True, tile=24, batch=3) <= 1e-12
    whole = restore(images[0, :1], net, dtype="float64", tile=None, ensemble=True)
    turned = restore(images[0, :1], net, dtype="float64", tile=24, exact=True, ensemble=True)
    assert (turned - whole).abs().max() <= 1e-12


@pytest.mark.parametrize("name", GLOBAL)
def test_reach_without_reductions_is_that_of_the_gradient(name):
    net = random_weights(GLOBAL[name]())
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    exact = make_exact(make_network(net, None, image, dtype="float64"))
    multiple, model = net.spec.multiple, exact.network.model
    cut = (exact.reach // multiple + 3) * multiple
    image = torch.rand(1, 3, multiple, 2 * cut, dtype=torch.float64, requires_grad=True)
    exact.sweep.known, exact.sweep.core = [], None
    model(image.detach())
    farthest = 0
    for column in range(multiple):
        (gradient,) = torch.autograd.grad(model(image)[..., cut - 1 - column].sum(), image)
        columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
        farthest = max(farthest, int(columns.max()) - (cut - 1 - column))
    assert farthest - multiple <= exact.reach <= farthest + multiple


def test_the_callers_network_is_not_taken_apart():
    net = random_weights(GLOBAL["NAFNet"]()).float()
    names = [type(module).__name__ for module in net.modules()]
    restore(torch.rand(3, 80, 80), net, exact=True, tile=64)
    assert [type(module).__name__ for module in net.modules()] == names
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_images_that_fit_one_tile_need_nothing():
    local = NAFNetLocal(width=4, enc_blk_nums=(1,), dec_blk_nums=(1,), train_size=(1, 3, 16, 16))
    image = torch.rand(3, 30, 30)
    assert torch.equal(restore(image, local, exact=True), restore(image, local, tile=None))
    with pytest.raises(ValueError, match=r"cannot tile this network: TLC.*use tile=None"):
        restore(image, local, exact=True, tile=16)


def test_what_cannot_be_exact_is_refused():
    net = random_weights(GLOBAL["NAFNet"]()).float()
    image = torch.rand(3, 100, 100)
    with pytest.raises(ValueError, match=r"needs tiles of at least 28, for the network looks 12 pixels far, got 24"):
        restore(image, net, exact=True, tile=24)
    with pytest.raises(ValueError, match=r"exact=True computes in float32, not in torch.bfloat16"):
        restore(image, net, exact=True, tile=64, dtype="bfloat16")
    with pytest.raises(ValueError, match="cannot tile this network: unknown"):
        restore(image, lambda x: x, exact=True, tile=64)

    class Spread(nn.Sequential):
        """A reduction, and a mean that is none."""

        spec = NetSpec(halo=None, global_ops=("some",))

        def forward(self, x):
            return x + x.mean((2, 3), keepdim=True) + self[0](x)

    from restoralib.blocks.reduction import GlobalMean

    with pytest.raises(ValueError, match="also when its reductions are known"):
        restore(image, Spread(GlobalMean()), exact=True, tile=64)


def test_exact_results_stay_exact_when_memory_is_short(monkeypatch):
    net = random_weights(FSRCNN(2, d=4, s=2, m=1)).float()
    forward, image = net.forward, torch.rand(3, 90, 90)
    whole = restore(image, net, tile=None)

    def short(pixels):
        def limited(x):
            if x.shape[-1] * x.shape[-2] > pixels:
                raise MemoryError("no room")
            return forward(x)

        return limited

    net.forward = short(50 * 50)
    torch.testing.assert_close(restore(image, net, exact=True, tile=80), whole, rtol=0, atol=1e-5)
    net.forward = short(30 * 30)
    with pytest.raises(OutOfMemory, match=r"no room.*exact=False"):
        restore(image, net, exact=True)
