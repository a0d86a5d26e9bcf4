"""Whole restorers: a network's process by its class, samplers and methods by name, tiles, precision and memory."""

from __future__ import annotations

import functools
import math
import pickle
import weakref
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from restoralib import restore
from restoralib.archs import ConditionalNAFNet, ConditionalUNet, GuidedUNet, PaletteUNet, SR3UNet
from restoralib.degradations.operators import AveragePoolOperator, GreyOperator, ResizeOperator
from restoralib.diffusion import (
    BBDM,
    DDPM,
    EDM,
    GOUB,
    I2SB,
    IRSDE,
    METHODS,
    VESDE,
    VPSDE,
    ByDDRM,
    ByILVR,
    ByPiGDM,
    ByRePaint,
    Denoised,
    DiffusionModel,
    DiffusionRestorer,
    Flow,
    Measurement,
    ResShift,
    VEBridge,
    VPBridge,
    diffusion_model,
    given,
    inpainting,
    red_diff,
    resshift_etas,
    time_grid,
)
from restoralib.ops.resize import resize
from restoralib.ops.schedules import cosine_betas, cosine_thetas, linear_betas, mirrored_betas
from restoralib.ops.tile import plan_tiles
from restoralib.restoration import OutOfMemory

pytestmark = pytest.mark.filterwarnings("ignore:the model's result spans")  # of random weights

THETAS = cosine_thetas(100)
BRIDGE = I2SB(mirrored_betas(1000, 1e-4, 0.3 / 1000))
PROCESSES = {
    "ddpm": (DDPM(linear_betas(100)), ("posterior", "ddim", "dpm++")),
    "irsde": (IRSDE(THETAS, 0.1), ("posterior", "sde", "ode", "ddim")),
    "goub": (GOUB(THETAS, 0.1), ("sde", "mean-ode", "posterior", "ddim")),
    "i2sb": (BRIDGE, ("posterior", "ode")),
    "resshift": (ResShift(resshift_etas()), ("posterior",)),
    "bbdm": (BBDM(100), ("posterior", "ddim")),
    "edm": (EDM(), ("heun", "ode", "posterior", "ddim")),
    "flow": (Flow(), ("heun", "ode")),
    "ve bridge": (VEBridge(), ("heun",)),
    "vp bridge": (VPBridge(), ("heun",)),
    "vp": (VPSDE(), ("sde", "ode", "posterior", "ddim")),
    "ve": (VESDE(), ("sde", "ode", "posterior", "ddim")),
}
CASES = [(family, sampler) for family, (_, samplers) in PROCESSES.items() for sampler in samplers]


def guided(outputs=6, **config):
    torch.manual_seed(0)
    net = GuidedUNet(32, 3, 32, outputs, 1, (), channel_mult=(1, 2), **config).eval()
    torch.nn.init.normal_(net.out[-1].weight, std=0.05)
    return net


def sr3():
    torch.manual_seed(0)
    return SR3UNet(6, 3, inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), res_blocks=1).eval()


def knowing(clean, process, condition="argument"):
    """A model whose network knows the clean image, and its calls."""
    calls = []

    def net(x, *others):
        calls.append(x.shape)
        return clean.to(x) + 0 * x

    return DiffusionModel(net, process, "x0", condition, low=0.0, high=1.0, clip=False), calls


@pytest.mark.parametrize(("family", "sampler"), CASES)
def test_every_sampler_finds_the_image_that_the_network_knows_in_as_many_calls_as_it_says(family, sampler):
    clean = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    model, calls = knowing(clean, PROCESSES[family][0])
    steps = 400 if family in ("vp", "ve") and sampler == "sde" else 12  # Euler's steps are coarse
    restorer = DiffusionRestorer(model, sampler, steps=steps)
    with torch.inference_mode():
        restored = restorer(torch.rand(1, 3, 6, 5), noise=torch.Generator().manual_seed(0))
    assert len(calls) == restorer.calls()
    # Euler's methods have errors, and IR-SDE's and GOUB's own code leaves noise at the end.
    assert (restored - clean).abs().max() < (0.35 if sampler in ("sde", "ode", "mean-ode") else 0.05)


@pytest.mark.parametrize("family", PROCESSES)
def test_grids_fall_and_have_the_steps_that_were_asked_for(family):
    process = PROCESSES[family][0]
    for steps in (1, 2, 7, None):
        grid = time_grid(process, steps)
        assert all(t > r for t, r in pairwise(grid)) and (steps is None or len(grid) == steps + 1)
    with pytest.raises(ValueError, match="steps should be at least 1"):
        time_grid(process, 0)
    if hasattr(process, "__len__"):
        with pytest.raises(ValueError, match="can take 1 to"):
            time_grid(process, 10**6)


def test_networks_come_with_what_their_authors_trained_them_with():
    rain, shadow = (diffusion_model(ConditionalUNet(nf=nf, depth=depth)) for nf, depth in ((8, 2), (32, 5)))
    refusion = diffusion_model(ConditionalNAFNet(width=8, enc_blk_nums=(1,), dec_blk_nums=(1,)))
    assert [round(255 * model.process.lam) for model in (rain, shadow, refusion)] == [10, 30, 50]
    assert all((len(m.process), m.low, m.high, m.clip) == (100, 0, 1, False) for m in (rain, shadow, refusion))
    assert torch.equal(rain.process.thetas, THETAS) and rain.process.eps == 0.005
    enlarging = diffusion_model(sr3())
    assert torch.equal(enlarging.process.betas, linear_betas(2000, 1e-6, 1e-2))
    assert (enlarging.condition, enlarging.scale) == ("before", 1)
    t = torch.tensor(700.0)
    torch.testing.assert_close(enlarging.time(t), enlarging.process.alphas_cumprod[700].sqrt())
    palette = diffusion_model(PaletteUNet(32, 6, 32, 3, 1, (), channel_mults=(1, 2)))
    assert torch.equal(palette.process.betas, linear_betas(1000, 1e-4, 0.09)) and (palette.low, palette.high) == (-1, 1)
    torch.testing.assert_close(palette.time(t), palette.process.alphas_cumprod[700])
    adm, fixed = diffusion_model(guided()), diffusion_model(guided(3))
    assert torch.equal(adm.process.betas, linear_betas(1000)) and adm.learned_variance and not fixed.learned_variance
    bridge = diffusion_model(guided(3), process=BRIDGE)
    assert (bridge.prediction, bridge.condition, bridge.time(torch.tensor(999.0))) == ("label", "none", 1000)


def test_the_layers_of_imagenet_64_have_the_cosine_schedule():
    with torch.device("meta"):
        net = GuidedUNet(64, 3, 192, 6, 1, (), channel_mult=(1,), num_classes=1000, num_head_channels=64)
    assert torch.equal(diffusion_model(functools.partial(net, label=torch.tensor([207]))).process.betas, cosine_betas(1000))
    with pytest.raises(ValueError, match="trained with classes"):
        diffusion_model(net)


def test_a_partial_tells_a_class():
    net, image = guided(num_classes=5), torch.rand(3, 8, 8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # blocks begin as identities, to which a class is nothing
    first, again, other = (
        restore(image, functools.partial(net, label=torch.tensor([k])), guidance="ilvr", operator="sr2", steps=3, seed=0)
        for k in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_bridge_runs_by_its_label_and_its_time():
    image = torch.rand(3, 9, 7)
    restored = restore(image, diffusion_model(guided(3), process=BRIDGE), steps=3, sampler="ode", seed=0)
    assert restored.shape == image.shape and restored.isfinite().all()
    with pytest.raises(ValueError, match="label"):
        DiffusionModel(guided(3), DDPM(linear_betas(10)), "label")


@pytest.mark.parametrize("process", [None, BRIDGE], ids=["palette", "i2sb"])
def test_holes_are_filled_and_the_rest_stays(process):
    net = guided(3) if process else PaletteUNet(32, 6, 32, 3, 1, (), channel_mults=(1, 2)).eval()
    image, mask = torch.rand(3, 9, 11), torch.ones(9, 11)
    mask[2:6, 3:8] = 0
    model, changed = diffusion_model(net, process=process), torch.where(mask > 0, image, 0.5)
    first, second = (restore(x, model, operator=inpainting(mask), steps=3, seed=0) for x in (image, changed))
    assert torch.equal(first, second)  # what the holes show counts for nothing
    if process is None:
        torch.testing.assert_close(first[:, mask > 0], image[:, mask > 0])


@pytest.mark.parametrize("guidance", ["dps", "diffpir", "red-diff"])
def test_holes_of_a_measurement_count_for_nothing(guidance):
    image, mask = torch.rand(3, 9, 11), (torch.rand(9, 11) > 0.5).float()
    first, second = (
        restore(x, guided(), guidance=guidance, operator=inpainting(mask), steps=2, seed=0)
        for x in (image, image * mask + 0.7 * (1 - mask))
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("guidance", METHODS)
def test_every_method_finds_the_image_that_the_network_knows_in_as_many_calls_as_it_says(guidance):
    clean = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model, calls = knowing(clean, DDPM(linear_betas(100)), "none")
    mask = (torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    method = ByRePaint(length=3, repeat=2) if guidance == "repaint" else guidance
    restorer = DiffusionRestorer(model, steps=20, guidance=method, operator=inpainting(mask))
    with torch.no_grad():
        restored = restorer(clean * mask, noise=torch.Generator().manual_seed(0))
    assert len(calls) == restorer.calls() >= 19
    if guidance != "red-diff":  # it is a descent, which twenty steps do not end
        assert (restored - clean).abs().max() < 0.05


def test_methods_take_numbers_of_their_own():
    flat = replace(diffusion_model(guided()), net=lambda x, t: 0.1 * x, prediction="x0", learned_variance=False)
    usual, other = (
        restore(torch.full((3, 4, 4), 0.4), flat, guidance=method, operator="sr2", steps=20, seed=0, sigma=0.1)
        for method in ("ddrm", ByDDRM(eta=0.2, eta_b=0.5))
    )
    assert not torch.equal(usual, other)


def test_pigdm_renoised_forgets_the_state():
    """Of a network that knows the image, one step's result depends on the last draw alone."""
    clean = torch.rand(1, 3, 8, 8)
    model, _ = knowing(clean, DDPM(linear_betas(100)), "none")
    restorer = DiffusionRestorer(model, steps=5, guidance=ByPiGDM(renoise=True), operator="denoise", sigma=0.1)
    states = []
    model = replace(model, net=lambda x, t: states.append(x.detach()) or clean + 0 * x)
    with torch.no_grad():
        replace(restorer, model=model)(clean, noise=given([torch.zeros_like(clean)] * 6))
    for state, time in zip(states[1:], restorer.times()[1:], strict=False):
        torch.testing.assert_close(state, model.process.marginal(clean, time, torch.zeros_like(clean)))


def test_ilvr_follows_the_measurement_in_some_step():
    for free in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="expected free in"):
            ByILVR(free=free)
    options = {"operator": "sr2", "seed": 0}
    for method, steps in ((ByILVR(), 1), (ByILVR(free=0.9), 4)):
        with pytest.raises(ValueError, match=rf"of {steps} none is left that follows the measurement"):
            restore(torch.rand(3, 4, 4), guided(), guidance=method, steps=steps, **options)
    for method, steps in ((ByILVR(free=0.0), 1), (ByILVR(), 2)):
        one, other = (restore(torch.full((3, 4, 4), c), guided(), guidance=method, steps=steps, **options) for c in (0.2, 0.8))
        assert not torch.equal(one, other)


def test_diffpir_takes_two_steps_or_more():
    with pytest.raises(ValueError, match="at least 2 steps"):
        DiffusionRestorer(diffusion_model(guided()), steps=1, guidance="diffpir", operator="sr2")


def test_pigdm_takes_ddim_or_renoises_but_not_both():
    with pytest.raises(ValueError, match=r"leave out eta=0.5 or renoise"):
        ByPiGDM(eta=0.5, renoise=True)
    small = torch.rand(3, 4, 4)
    with pytest.raises(ValueError, match="'ddim' does not fit"):
        restore(small, guided(), sampler="ddim", guidance=ByPiGDM(renoise=True), operator="sr2", steps=2)
    usual, one, half = (
        restore(small, guided(), guidance=ByPiGDM(eta=eta), operator="sr2", steps=3, seed=0) for eta in (None, 1.0, 0.5)
    )
    assert torch.equal(usual, one) and not torch.equal(usual, half)


@pytest.mark.parametrize(("family", "way"), [*CASES, *(("ddpm", guidance) for guidance in METHODS)])
def test_memory_does_not_grow_with_the_number_of_steps(family, way):
    """As many states and clean images are alive at a call of the network late in 48 steps as in 12."""
    image = torch.rand(1, 3, 6, 5)
    options = {"sampler": way} if way not in METHODS else {"guidance": way, "operator": inpainting(torch.eye(6)[:, :5])}
    process = ResShift(resshift_etas(50)) if family == "resshift" else PROCESSES[family][0]
    model, _ = knowing(image, process, "none" if way in METHODS else "argument")

    def most_alive(steps):
        kept, counts = [], []

        def net(x, *others):
            counts.append(sum(reference() is not None for reference in kept))
            result = 0.5 * x
            kept.extend((weakref.ref(x), weakref.ref(result)))
            return result

        restorer = DiffusionRestorer(replace(model, net=net), steps=steps, **options)
        with torch.no_grad():
            restorer(image, noise=torch.Generator().manual_seed(0))
        return max(counts)

    assert most_alive(48) == most_alive(12)


def test_the_learned_variance_is_used():
    net, other = guided(), guided()
    with torch.no_grad():
        other.out[-1].bias[3:] += 2
    small, options = torch.rand(3, 4, 4), {"guidance": "ilvr", "operator": "sr2", "steps": 4, "seed": 0}
    assert not torch.equal(restore(small, net, **options), restore(small, other, **options))


def test_images_of_a_batch_have_noise_of_their_own_whatever_the_batch():
    torch.manual_seed(0)
    net, image = ConditionalUNet(nf=8, depth=2).eval(), torch.rand(3, 9, 7)
    batch = restore(torch.stack((image, image)), net, steps=3, seed=5)
    assert not torch.equal(batch[0], batch[1])
    for number in range(2):
        torch.testing.assert_close(batch[number], restore(image, net, steps=3, seed=5 + number))


def test_without_a_seed_the_callers_generator_decides():
    net, image, results = ConditionalUNet(nf=8, depth=2).eval(), torch.rand(3, 9, 7), []
    for _ in range(2):
        torch.manual_seed(3)
        results += [restore(image, net, steps=2), restore(image, net, steps=2)]
    assert torch.equal(results[0], results[2]) and not torch.equal(results[0], results[1])


def test_grey_stays_grey_and_a_grey_network_takes_channels_one_by_one():
    net = ConditionalUNet(nf=8, depth=2).eval()
    assert restore(torch.rand(1, 9, 7), net, steps=2, seed=0).shape == (1, 9, 7)
    grey, image, seen = ConditionalUNet(in_nc=1, out_nc=1, nf=8, depth=2).eval(), torch.rand(3, 9, 7), []
    restored = restore(image, grey, steps=2, seed=0, progress=lambda *progress: seen.append(progress[:2]))
    assert seen[-1] == (6, 6)
    torch.testing.assert_close(restored[1:2], restore(image[1:2], grey, steps=2, seed=0))


def test_half_precision_is_for_the_network_alone():
    types = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(6, 3, 3, padding=1)

        def forward(self, x, y, time):
            types.append((x.dtype, (result := self.conv(torch.cat((x, y), 1))).dtype))
            return result

    model = DiffusionModel(Net(), IRSDE(THETAS, 0.1), "x0", "argument", low=0.0, high=1.0)
    restored = restore(torch.rand(3, 9, 7), model, steps=2, seed=0, dtype="bfloat16")
    assert set(types) == {(torch.float32, torch.bfloat16)} and restored.dtype == torch.float32


def test_a_network_that_gives_nan_is_named():
    model = DiffusionModel(lambda x, y, t: x * math.nan, IRSDE(THETAS, 0.1), "x0", "argument", low=0.0, high=1.0)
    with pytest.raises(FloatingPointError, match="NaN or Inf"):
        restore(torch.rand(3, 9, 7), model, steps=2, seed=0)
    with pytest.raises(RuntimeError, match="not finite at time 100"):
        DiffusionRestorer(model, steps=2)(torch.rand(1, 3, 9, 7))


def test_smaller_tiles_where_memory_does_not_suffice():
    """The result is that of the smaller tile from the beginning, noise and all."""
    largest = []

    def net(x, y, t):
        largest.append(max(x.shape[-2:]))
        if max(x.shape[-2:]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.5 * (x + y) + 0.1 * x.mean((2, 3), keepdim=True)

    model, image = DiffusionModel(net, IRSDE(THETAS, 0.1), "x0", "argument", low=0.0, high=1.0), torch.rand(3, 96, 100)
    limit = 50
    halved = restore(image, model, steps=3, seed=0)
    assert largest[0] == 100 and largest[-1] == 50
    torch.testing.assert_close(halved, restore(image, model, steps=3, seed=0, tile=(48, 50)))
    limit = 8
    with pytest.raises(OutOfMemory, match="do not fit"):
        restore(image, model, steps=3, seed=0)
    prior = DiffusionModel(lambda x, t: net(x, x, t), DDPM(linear_betas(10)), "x0")
    with pytest.raises(OutOfMemory, match="guidance without gradients"):
        restore(image, prior, steps=3, seed=0, guidance="dps", operator="denoise")


@pytest.mark.parametrize("kind", ["unet", "nafnet"])
def test_tiles_show_no_seam(kind):
    """Of networks that see the whole picture: the result has no more energy at the ends of tiles than the untiled one there."""
    torch.manual_seed(0)
    if kind == "unet":
        net = ConditionalUNet(nf=8, depth=2).eval()
    else:
        net = ConditionalNAFNet(width=8, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1)).eval()
        for name, parameter in net.named_parameters():
            if name.endswith(("beta", "gamma")):
                torch.nn.init.normal_(parameter, std=0.3)
    # A correction of the degraded image, so that random weights stay near it.
    model = replace(diffusion_model(net), net=lambda x, y, t: 0.9 * y + 0.05 * net(x, y, t).tanh(), prediction="x0")
    image = 0.2 + 0.6 * resize(torch.rand(3, 9, 12), size=(96, 128)).clamp(0, 1)
    whole, tiled = (restore(image, model, steps=5, seed=0, tile=tile) for tile in (None, 64))
    assert -10 * (tiled - whole).square().mean().log10() > 45
    for axis, length in ((1, 96), (2, 128)):
        spans = plan_tiles(length, 64, 16, model.multiple)
        at = torch.zeros(length - 1, dtype=torch.bool)
        at[[start - 1 for start, _ in spans[1:]] + [stop - 1 for _, stop in spans[:-1]]] = True
        energy = (x.diff(dim=axis).square().mean(tuple({0, 1, 2} - {axis})) for x in (tiled, whole))
        in_tiles, in_whole = (float(steps[at].mean() / steps[~at].mean()) for steps in energy)
        assert in_tiles < 1.02 * in_whole


def test_restorers_are_values():
    unet = diffusion_model(ConditionalUNet(nf=8, depth=2).eval())
    prior = DiffusionRestorer(diffusion_model(guided()), steps=2, guidance="ddrm", operator="sr2", sigma=0.1)
    image = torch.rand(3, 6, 5)
    for restorer in (DiffusionRestorer(unet, steps=2), DiffusionRestorer(diffusion_model(sr3(), scale=2), steps=2), prior):
        copy = pickle.loads(pickle.dumps(restorer))
        torch.testing.assert_close(restore(image, copy, seed=0), restore(image, restorer, seed=0))
    with pytest.raises(ValueError, match=r"knows its steps; change it by dataclasses\.replace"):
        restore(image, prior, steps=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"operator": ResizeOperator((3, 16, 16), 1 / 2)}, "made for another size"),
        ({"operator": lambda shape: AveragePoolOperator(shape, 3)}, "no multiple of 3; crop"),
        ({"operator": lambda shape: AveragePoolOperator(shape, 2)}, "say the factor by scale"),
        ({"operator": GreyOperator((3, 8, 10))}, "but the degraded image is"),
        ({"operator": "inpaint"}, r"inpainting\(mask\)"),
        ({"operator": "sr2", "guidance": "repaint"}, "fills holes"),
        ({"operator": "sr2", "guidance": "ddnm", "sigma": 0.1}, r"ddnm\+"),
        ({"operator": "sr2", "sampler": "ddim"}, "brings its own steps"),
        ({"operator": "sr2", "guidance": "dps", "sampler": "sde"}, "takes 'posterior', 'ddim'"),
        ({"operator": "sr2", "sigma": -1.0}, "sigma should be 0 or more"),
        ({"operator": "sr2", "sigma": math.inf}, "sigma should be 0 or more and finite"),
        ({"operator": "sr2", "scale": 0}, "scale should be at least 1"),
        ({"operator": "sr4", "scale": 2}, "scale=2 does not fit the operator, of which the factor is 4"),
        ({"operator": ResizeOperator((3, 16, 20), 1 / 2), "scale": 3}, "scale=3 does not fit the operator"),
        ({"operator": inpainting(torch.full((8, 10), 0.5)), "guidance": "repaint"}, "mask of 0 and 1"),
    ],
)
def test_operators_that_do_not_fit_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        restore(torch.rand(3, 8, 10), guided(), **{"guidance": "ddrm", "steps": 2, "seed": 0} | options)


def test_an_operator_that_is_not_linear_is_named():
    with pytest.raises(TypeError, match=r"should be a LinearOperator.* gave Sigmoid"):
        restore(torch.rand(3, 8, 10), guided(), guidance="ddrm", operator=lambda shape: torch.nn.Sigmoid(), steps=2)


def test_operators_of_a_given_factor():
    black = replace(diffusion_model(guided()), net=lambda x, t: -torch.ones_like(x), prediction="x0", learned_variance=False)
    small = torch.rand(3, 4, 5)
    for options in (
        {"operator": lambda shape: AveragePoolOperator(shape, 2), "scale": 2},
        {"operator": AveragePoolOperator((3, 8, 10), 2)},
    ):
        restored = restore(small, black, guidance="ddnm", steps=2, seed=0, **options)
        torch.testing.assert_close(restored, small.repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5, rtol=0)


def test_samplers_and_models_that_do_not_fit_are_named():
    model, _ = knowing(torch.zeros(1), DDPM(linear_betas(10)))
    with pytest.raises(ValueError, match="'sde' does not fit DDPM, which is sampled by 'posterior', 'ddim'"):
        DiffusionRestorer(model, "sde")
    with pytest.raises(ValueError, match="leave operator out"):
        DiffusionRestorer(model, operator="sr2")
    with pytest.raises(ValueError, match="sigma is for a guidance"):
        DiffusionRestorer(model, operator=inpainting(torch.ones(2, 2)), sigma=0.1)
    with pytest.raises(ValueError, match="scale=2 does not fit the network, of which the factor is 1"):
        DiffusionRestorer(model, scale=2)
    with pytest.raises(ValueError, match="cannot keep what is known"):
        DiffusionRestorer(model, "dpm++", operator=inpainting(torch.ones(2, 2)))
    with pytest.raises(TypeError, match="runs on a DDPM, not on EDM"):
        DiffusionRestorer(DiffusionModel(None, EDM(), "x0"), guidance="dps", operator="sr2")
    with pytest.raises(TypeError, match="ConditionalUNet goes with IRSDE, got DDPM"):
        diffusion_model(ConditionalUNet(nf=8, depth=2), process=DDPM(linear_betas(10)))
    with pytest.raises(TypeError, match="no diffusion is known for Conv2d"):
        diffusion_model(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="takes no degraded image to enlarge"):
        DiffusionModel(None, EDM(), scale=2)
    for wrong in ({"condition": "beside"}, {"prediction": "noise"}, {"low": 1.0}, {"scale": 0}):
        with pytest.raises(ValueError, match=r"unknown|expected low < high|scale should"):
            DiffusionModel(None, EDM(), **wrong)
    with pytest.raises(ValueError, match="expected images"):
        DiffusionRestorer(model)(torch.rand(3, 4, 4))


def test_red_diff_descends_by_adam():
    """Against torch's Adam, whose import it spares."""
    process, y = DDPM(linear_betas(100)), torch.rand(1, 3, 4, 4).double()
    measurement = Measurement(ResizeOperator((3, 8, 8), 1 / 2), y)
    draws = [torch.randn(1, 3, 8, 8, dtype=torch.float64) for _ in range(4)]

    def denoise(x, t):
        return Denoised(0.3 * x)

    with torch.no_grad():
        found = red_diff(denoise, process, measurement, [80, 50, 20, 0, -1], noise=draws)
    mu = measurement.operator.pinv(y).requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99))
    for t, eps in zip((80, 50, 20, 0), draws, strict=True):
        a, _, s = process.coefficients(t)
        with torch.no_grad():
            x = a * mu + s * eps
            difference = process.noise(x, denoise(x, t).x0, t) - eps
        adam.zero_grad()
        (measurement.residual(mu).square().sum() / 2 + 0.25 * (s / a * difference * mu).sum()).backward()
        adam.step()
    torch.testing.assert_close(found, mu.detach())
