"""Restormer; tests/test_goldens_archs.py holds it against the reference."""

import random

import pytest
import torch
import torch.nn.functional as F
from outline import outline

from restoralib.archs.restormer import VARIANTS, Restormer, infer_config

TINY = {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}
KINDS = {
    "WithBias": {},
    "BiasFree": {"LayerNorm_type": "BiasFree"},
    "bias": {"bias": True},
    "dual pixel": {"inp_channels": 6, "dual_pixel_task": True},
    "gray": {"inp_channels": 1, "out_channels": 1},
}
every_kind = pytest.mark.parametrize("config", [pytest.param(TINY | kind, id=name) for name, kind in KINDS.items()])


def on_meta(config) -> Restormer:
    return outline(Restormer, config)


def tiny(config=TINY) -> tuple[Restormer, torch.Tensor]:
    torch.manual_seed(0)
    net = Restormer(**config)
    return net, torch.rand(1, net.spec.in_channels, 9, 17)


@pytest.mark.parametrize(
    ("name", "parameters", "keys"),
    [
        ("deraining", 26_126_644, 494),
        ("motion_deblurring", 26_126_644, 494),
        ("single_image_defocus", 26_126_644, 494),
        ("dual_pixel_defocus", 26_132_548, 495),
        ("real_denoising", 26_111_668, 406),
        *((f"gaussian_color_{level}", 26_111_668, 406) for level in ("blind", "sigma15", "sigma25", "sigma50")),
        *((f"gaussian_gray_{level}", 26_109_076, 406) for level in ("blind", "sigma15", "sigma25", "sigma50")),
    ],
)
def test_published_variants(name, parameters, keys):
    variant = VARIANTS[f"restormer_{name}"]
    net = on_meta(variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys
    assert infer_config(net.state_dict()).config == variant.config
    assert set(variant.tasks) <= set(net.spec.tasks)
    assert (net.spec.halo, net.spec.global_ops, net.spec.multiple) == (None, ("MDTA",), 8)


def test_defaults_are_the_deraining_network():
    assert infer_config(on_meta({}).state_dict()).config == VARIANTS["restormer_deraining"].config
    assert Restormer(**TINY).spec.tasks == ()


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
def test_any_size_is_kept(size):
    net, _ = tiny()
    image = torch.rand(1, 3, size, 9)
    output = net(image)
    assert output.shape == image.shape and output.isfinite().all()


@every_kind
def test_pads_by_reflection_as_the_authors_scripts(config):
    net, image = tiny(config)
    padded = F.pad(image, (0, 7, 0, 7), mode="reflect")
    torch.testing.assert_close(net(image), net(padded)[..., :9, :17])


@every_kind
def test_every_parameter_gets_a_gradient(config):
    net, image = tiny(config)
    output = net(image)
    output.backward(torch.randn_like(output))
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_kind
def test_bfloat16_autocast_stays_near(config):
    net, image = tiny(config)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(image)
    torch.testing.assert_close(output.float(), net(image), atol=0.05, rtol=0.05)


def test_float16_stays_finite():
    net, image = tiny(TINY | {"LayerNorm_type": "BiasFree"})
    assert net.half()(image.half()).isfinite().all()


@pytest.mark.slow
def test_compiles_in_one_graph():
    net, image = tiny(TINY | KINDS["dual pixel"] | KINDS["BiasFree"])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), net(image))


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        dim = draw.choice([8, 16, 24, 48])
        channels = draw.choice([1, 3, 4])
        dual_pixel_task = draw.random() < 0.3
        config = {
            "inp_channels": 2 * channels if dual_pixel_task else channels,
            "out_channels": channels,
            "dim": dim,
            "num_blocks": tuple(draw.choice([1, 1, 1, 2]) for _ in range(4)),
            "num_refinement_blocks": draw.randint(0, 2),
            "heads": tuple(draw.choice([1, 2, 4, 8]) for _ in range(4)),
            "ffn_expansion_factor": draw.choice([1, 2, 2.2, 2.5, 2.66, 3, 4]),
            "bias": draw.random() < 0.5,
            "LayerNorm_type": draw.choice(["WithBias", "BiasFree"]),
            "dual_pixel_task": dual_pixel_task,
        }
        assert infer_config(on_meta(config).state_dict()).config == config


def test_any_expansion_factor_gives_the_same_widths():
    draw = random.Random(0)
    for _ in range(10):
        config = TINY | {"dim": 2 * draw.randint(4, 12), "heads": (1, 1, 1, 1), "ffn_expansion_factor": draw.uniform(0.5, 5)}
        state = on_meta(config).state_dict()
        again = on_meta(infer_config(state).config).state_dict()
        assert [(key, value.shape) for key, value in state.items()] == [(key, value.shape) for key, value in again.items()]


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_level1.0.attn.kernel.0.weight": torch.zeros(16, 256)},  # DiffIR
        {"prompt1.prompt_param": torch.zeros(1, 5, 64, 64, 64)},  # PromptIR
        {"latent.0.attn.temperature": torch.zeros(())},
        {"patch_embed.proj.weight": torch.zeros(8)},
        {"latent.0.ffn.project_out.weight": torch.zeros(64, 9, 1, 1)},  # no one factor gives this and the others
        {"latent.0.ffn.project_out.weight": torch.zeros(0, 9, 1, 1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(TINY).state_dict() | change) is None


@pytest.mark.parametrize("missing", ["patch_embed.proj.weight", "output.weight", "latent.0.attn.temperature"])
def test_what_lacks_the_tell_tale_keys_is_not_taken_for_it(missing):
    state = dict(on_meta(TINY).state_dict())
    del state[missing]
    assert infer_config(state) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(("inp_channels", "out_channels", "channels"), [(1, 3, 3), (3, 1, 3), (3, 3, 3)])
def test_one_channel_is_broadcast_to_the_others(inp_channels, out_channels, channels):
    net = Restormer(inp_channels, out_channels, **TINY)
    assert net(torch.rand(1, inp_channels, 8, 8)).shape[1] == channels == net.spec.out_channels


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inp_channels": 6}, "6 channels in and 3 out do not fit; make them equal or set dual_pixel_task"),
        ({"LayerNorm_type": "withbias"}, "LayerNorm_type should be one of WithBias, BiasFree, got 'withbias'"),
        ({"dim": 7}, "dim should be even, got 7"),
        ({"num_blocks": (1, 1, 1)}, "four positive numbers"),
        ({"num_blocks": (1, 1, 0, 1)}, "four positive numbers"),
        ({"heads": (3, 2, 4, 8)}, "3 heads do not divide 8 channels"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        Restormer(**(TINY | config))
