"""Retinex-Net; tests/test_goldens_archs.py holds it against the port."""

import functools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import restoralib
from restoralib.archs.retinexnet import VARIANTS, DecomNet, RelightNet, RetinexNet, infer_config
from restoralib.checkpoints import skeleton
from restoralib.zoo import load_bundled

CLASSES = (DecomNet, RelightNet, RetinexNet)


def tiny(channel=4, kernel_size=3):
    torch.manual_seed(0)
    net = RetinexNet(channel, kernel_size).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.double()


def image(height, width):
    return torch.rand(1, 3, height, width, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "keys"), [("retinexnet_lol", 32), ("retinexnet_lol_decom", 14), ("retinexnet_lol_relight", 18)]
)
def test_published_variants(name, keys):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    told = infer_config(net.state_dict())
    assert (told.cls, told.config, len(net.state_dict())) == (variant.cls, variant.config, keys)
    assert net.spec.role == ("restorer" if variant.cls is RetinexNet else "part")
    assert net.spec.tasks == variant.tasks


def test_the_enhanced_image_is_the_reflectance_in_another_light():
    net, dark = tiny(), image(9, 14)
    enhanced, reflectance, illumination, adjusted = net(dark)
    assert torch.equal(enhanced, reflectance * adjusted)
    assert torch.equal(reflectance, net.DecomNet(dark)[0]) and torch.equal(illumination, net.DecomNet(dark)[1])
    assert torch.equal(adjusted, net.RelightNet(illumination, reflectance))
    assert reflectance.aminmax().min > 0 and reflectance.aminmax().max < 1


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_borders_are_repeated_so_that_flat_images_stay_flat(kernel_size):
    for output in tiny(kernel_size=kernel_size)(torch.full((1, 3, 11, 13), 0.3, dtype=torch.float64)):
        assert output.shape[-2:] == (11, 13)
        torch.testing.assert_close(output, output[..., :1, :1].expand_as(output))


def test_the_ports_padded_fusion_is_ours():
    fusion, last = tiny().RelightNet.net2_fusion, tiny().RelightNet.net2_output
    x = torch.rand(1, 12, 5, 6, dtype=torch.float64)
    theirs = F.conv2d(F.conv2d(F.pad(x, [1] * 4, mode="replicate"), fusion.weight, fusion.bias), last.weight, last.bias)
    torch.testing.assert_close(last(fusion(x)), theirs)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_halo_of_the_decomposition_is_exact(kernel_size):
    net = tiny(kernel_size=kernel_size).DecomNet
    dark, center = image(61, 61), 30
    dark[..., center, center] = torch.nan
    rows, _ = net(dark)[0][0, 0].isnan().nonzero().T
    assert int(rows.max()) - center == center - int(rows.min()) == net.spec.halo


def test_a_part_of_an_image_is_relit_as_within_it_only_where_sides_are_multiples_of_four():
    """Why the spec calls the network global: the nearest of a quarter of the pixels depends on the side."""
    net = tiny().RelightNet
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    light, reflectance = torch.rand(2, 3, 150, 8, dtype=torch.float64)
    light, reflectance = light[None, :1], reflectance[None]

    def relit(height):
        return net(light[..., :height, :], reflectance[..., :height, :])[..., :100, :]

    fits, cut = relit(148), relit(150)
    assert torch.equal(relit(136)[..., :90, :], fits[..., :90, :])
    assert torch.equal(cut[..., :72, :], fits[..., :72, :])
    assert (cut - fits).abs().max() > 1e-3 * fits.std()
    assert net.spec.halo is None and net.spec.global_ops == ("nearest resize",)


def test_noise_is_taken_from_the_reflectance_the_more_the_darker_it_is():
    net, dark = tiny(), image(9, 14)
    _, noisy, illumination, adjusted = net(dark)
    enhanced, reflectance, same_illumination, same_adjusted = net(dark, torch.zeros_like)
    torch.testing.assert_close(reflectance, illumination * noisy)
    assert torch.equal(enhanced, reflectance * adjusted)
    assert torch.equal(same_illumination, illumination) and torch.equal(same_adjusted, adjusted)
    assert torch.equal(net(dark, lambda x: x)[0], net(dark)[0])
    with pytest.raises(ValueError, match=r"denoise should keep the shape \(1, 3, 9, 14\), got \(1, 3, 5, 7\)"):
        net(dark, lambda x: x[..., ::2, ::2])


def test_the_bundled_denoiser_fits():
    net, denoise = tiny().float(), load_bundled("nafnet_denoise")
    dark = torch.rand(3, 15, 21)
    with torch.inference_mode():
        expected = net(dark[None], denoise)[0]
    restored = restoralib.restore(dark, functools.partial(net, denoise=denoise))
    torch.testing.assert_close(restored[None], expected.clamp(0, 1), atol=1e-4, rtol=1e-4)
    assert (restored - restoralib.restore(dark, net)).abs().max() > 1e-4


def test_the_authors_two_files_make_one_network(tmp_path):
    net = tiny().float()
    for name, part in {"Decom": net.DecomNet, "Relight": net.RelightNet}.items():
        (tmp_path / name).mkdir()
        torch.save(part.state_dict(), tmp_path / name / "9200.tar", _use_new_zipfile_serialization=False)
    halves = [restoralib.load_model(tmp_path / name / "9200.tar") for name in ("Decom", "Relight")]
    assert [type(half) for half in halves] == [DecomNet, RelightNet]
    whole = RetinexNet.from_parts(*halves)
    torch.save(whole.state_dict(), tmp_path / "retinexnet.pth")
    again = restoralib.load_model(tmp_path / "retinexnet.pth")
    dark = torch.rand(1, 3, 9, 14)
    with torch.inference_mode():
        for made in (whole, again, RetinexNet.from_parts(net.DecomNet.state_dict(), net.RelightNet.state_dict())):
            assert type(made) is RetinexNet and not made.training and made.spec == net.spec
            assert all(map(torch.equal, made(dark), net(dark)))
    restored = restoralib.restore(dark[0], tmp_path / "retinexnet.pth")
    torch.testing.assert_close(restored, net(dark)[0][0].clamp(0, 1))
    halves[0].net1_conv0.weight.data.zero_()
    assert whole.DecomNet.net1_conv0.weight.any(), "weights should be copied"


def test_a_half_alone_restores_nothing(tmp_path):
    torch.save(tiny().DecomNet.state_dict(), tmp_path / "9200.tar")
    with pytest.raises(ValueError, match=r"DecomNet restores no image by itself.*RetinexNet\.from_parts"):
        restoralib.restore(torch.rand(3, 8, 8), tmp_path / "9200.tar")


@pytest.mark.parametrize(
    ("decom", "relight", "message"),
    [
        (RelightNet(4), RelightNet(4), "decom should be a DecomNet or its weights, got those of a RelightNet"),
        (DecomNet(4), DecomNet(4).state_dict(), "relight should be a RelightNet or its weights, got those of a DecomNet"),
        (DecomNet(4), {}, "relight should be a RelightNet or its weights, got others: none"),
        (DecomNet(4), nn.Linear(2, 3), "got Linear: weight, bias"),
        (DecomNet(4), RelightNet(8), "both halves should be of one size"),
    ],
)
def test_wrong_halves_are_named(decom, relight, message):
    with pytest.raises(ValueError, match=message):
        RetinexNet.from_parts(decom, relight)


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        cls = draw.choice(CLASSES)
        config = {"channel": draw.randint(1, 70), "kernel_size": draw.choice([1, 3, 5, 7])}
        told = infer_config(skeleton(cls, config).state_dict())
        assert (told.cls, told.config) == (cls, config)


@pytest.mark.parametrize(
    "change",
    [
        {"net1_conv0.weight": torch.zeros(64, 4, 3, 3)},
        {"net1_convs.2.weight": torch.zeros(64, 64, 5, 5)},
        {"net1_convs.0.weight": torch.zeros(())},
        {"net1_recon.weight": torch.zeros(3, 64, 3, 3)},
        {"net1_recon.alpha": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(skeleton(DecomNet, {}).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"channel": 0}, "channel should be a whole number of at least 1, got 0"),
        ({"kernel_size": 1.5}, "kernel_size should be a whole number of at least 1, got 1.5"),
        ({"kernel_size": 4}, "kernel_size should be odd, so that images keep their size, got 4"),
    ],
)
def test_impossible_arguments_are_named(cls, config, message):
    with pytest.raises(ValueError, match=message):
        cls(**config)


@pytest.mark.slow
def test_exports_for_any_size():
    net = tiny()
    sizes = {2: torch.export.Dim("height", min=9, max=512), 3: torch.export.Dim("width", min=9, max=512)}
    exported = torch.export.export(net, (image(24, 30),), dynamic_shapes=(sizes,), strict=False).module()
    for size in ((17, 21), (40, 9)):
        dark = image(*size)
        torch.testing.assert_close(exported(dark)[0], net(dark)[0])
