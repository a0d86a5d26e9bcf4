"""LPIPS and DISTS; their figures are held against the goldens in test_goldens_metrics.py."""

import copy
import math
import sys
from pathlib import Path

import pytest
import torch
from goldens.features import filled_weights as weights
from safetensors import safe_open

from restoralib.metrics import DISTS, LPIPS, dists, lpips
from restoralib.metrics.dists import _l2_pool

BACKBONES = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}
SMALLEST = {"alex": 31, "squeeze": 17, "vgg": 16}
PUBLISHED = Path(sys.modules["restoralib.metrics"].__file__).with_name("published")


@pytest.fixture(scope="module")
def models():
    nets = {net: LPIPS(net, weights=weights(backbone)) for net, backbone in BACKBONES.items()}
    return nets | {"dists": DISTS(weights=weights("vgg16"))}


@pytest.mark.parametrize("name", [*BACKBONES, "dists"])
def test_distances_are_zero_for_equal_images_and_grow(name, models):
    model = models[name]
    target = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    near, far = (target + 0.02 * (target.flip(2) - 0.5)).clamp(0, 1), target.flip(2)
    for image in (target, torch.full_like(target, 0.5)):
        assert model(image, image).abs().max() <= (2e-6 if name == "dists" else 0)
    assert ((model(near, target) > 0) & (model(near, target) < model(far, target))).all()
    assert model(far, target).shape == (2,)
    assert torch.allclose(model(far[1:], target[1:]), model(far, target)[1:], rtol=1e-4)


@pytest.mark.parametrize("name", [*BACKBONES, "dists"])
def test_distances_have_finite_gradients_even_at_equal_and_constant_images(name, models):
    for start, target in ((torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)), (torch.zeros(1, 3, 40, 40),) * 2):
        image = start.clone().requires_grad_()
        models[name](image, target).sum().backward()
        assert image.grad.isfinite().all()
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    models[name](image, torch.rand(1, 3, 40, 40)).sum().backward()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["squeeze", "dists"])
def test_autocast_and_half_precision_images_do_not_change_the_type(name, models):
    image, target = torch.rand(1, 3, 40, 40).half(), torch.rand(1, 3, 40, 40).half()
    expected = models[name](image.float(), target.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(models[name](image, target), expected)
    double = copy.deepcopy(models[name]).double()
    assert double(image, target).dtype == torch.float64


@pytest.mark.parametrize("measure", [lpips, dists])
def test_a_reference_in_another_unit_is_refused(measure, models):
    image, target = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)
    model = models["squeeze" if measure is lpips else "dists"]
    for convert in (lambda x: 255 * x, lambda x: 2 * x - 1):
        with pytest.raises(ValueError, match=r"the reference goes from .* where 0 to 1 is expected"):
            measure(convert(image), convert(target), model)
    assert measure(3 * image, target, model).isfinite().all()


def test_metrics_and_losses_share_a_network(models):
    model = models["vgg"]
    assert DISTS(weights=model.features).features is model.features
    assert LPIPS("vgg", version="0.0", weights=model.features).features is model.features
    with pytest.raises(ValueError, match="the features to share are of vgg16, and alexnet is needed"):
        LPIPS("alex", weights=model.features)


@pytest.mark.parametrize("net", BACKBONES)
def test_lpips_is_the_sum_of_its_layers_and_of_its_map(net, models):
    model = models[net]
    image, target = torch.rand(2, 3, 48, 56), torch.rand(2, 3, 48, 56)
    layers = model.per_layer(image, target)
    assert layers.shape == (2, len(model.taps))
    assert torch.allclose(layers.sum(1), lpips(image, target, model))
    assert model.spatial(image, target).shape == (2, 1, 48, 56)
    half = torch.cat([image[..., :28], target[..., 28:]], -1)
    left, right = model.spatial(half, target)[..., :14].mean(), model.spatial(half, target)[..., -14:].mean()
    assert left > 2 * right


@pytest.mark.parametrize("net", BACKBONES)
def test_images_that_are_too_small_are_named(net, models):
    side = SMALLEST[net]
    assert models[net](torch.rand(1, 3, side, 60), torch.rand(1, 3, side, 60)).isfinite().all()
    with pytest.raises(ValueError, match=f"an image of {side - 1}x60 is too small"):
        models[net](torch.rand(1, 3, side - 1, 60), torch.rand(1, 3, side - 1, 60))


@pytest.mark.parametrize("name", ["alex", "dists"])
def test_bad_pairs_are_named(name, models):
    image = torch.rand(1, 3, 40, 40)
    with pytest.raises(ValueError, match="one shape"):
        models[name](image, image[..., 1:])
    with pytest.raises(ValueError, match="compare grey with grey"):
        models[name](image, image[:, :1])
    with pytest.raises(ValueError, match="repeat grey three times"):
        models[name](image[:, :1], image[:, :1])
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        models[name]((255 * image).byte(), (255 * image).byte())
    spoiled = image.clone()
    spoiled[0, 0, 3, 3] = math.nan
    assert models[name](spoiled, image).isnan().all()


def test_missing_backbones_are_an_error_and_never_random(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    image = torch.rand(1, 3, 40, 40)
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-7be5be79.pth"):
        lpips(image, image)
    with pytest.raises(FileNotFoundError, match=r"squeezenet1_1-b8a52dc0.pth"):
        lpips(image, image, "squeeze")
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af.pth"):
        dists(image, image)


def test_lpips_by_name_reads_the_users_file_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path))
    torch.save(weights("squeezenet1_1"), tmp_path / "squeezenet1_1-b8a52dc0.pth")
    image, target = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)
    expected = LPIPS("squeeze", weights=weights("squeezenet1_1"))(image, target)
    try:
        with torch.inference_mode():
            assert torch.equal(lpips(image, target, "squeeze"), expected)
        lpips(image.requires_grad_(), target, "squeeze").sum().backward()  # what was read in inference mode has gradients, too
        (tmp_path / "squeezenet1_1-b8a52dc0.pth").unlink()
        assert torch.equal(lpips(image, target, "squeeze"), expected)
    finally:
        sys.modules["restoralib.metrics.lpips"]._loaded.cache_clear()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="choose one of alex, vgg, squeeze"):
        LPIPS("resnet")
    with pytest.raises(ValueError, match=r"versions 0.0 and 0.1, got '0.2'"):
        LPIPS("squeeze", version="0.2", weights=weights("squeezenet1_1"))
    with pytest.raises(ValueError, match=r"vectors of \[64, 192, 384, 256, 256\] numbers, got \[3\]"):
        LPIPS("alex", linear=[torch.ones(3)], weights={})
    with pytest.raises(ValueError, match="alpha should have 1475 numbers"):
        DISTS(alpha=torch.ones(3), weights={})


def test_dists_reduces_large_images_only_when_asked(models):
    resizing = DISTS(weights=models["dists"].features.state_dict(), resize=True)
    image, target = torch.rand(1, 3, 40, 48), torch.rand(1, 3, 40, 48)
    assert torch.equal(resizing(image, target), models["dists"](image, target))
    from restoralib.metrics.dists import _reduce

    assert _reduce(torch.rand(1, 3, 300, 400)).shape == (1, 3, 256, 341)


def test_l2_pooling_keeps_constants_inside():
    assert torch.allclose(_l2_pool(torch.full((1, 2, 8, 8), 0.5))[..., 1:-1, 1:-1], torch.tensor(0.5))


def test_shipped_numbers_carry_their_licences():
    licences = {"lpips": "BSD-2-Clause", "dists": "MIT", "niqe": "LicenseRef-LIVE"}
    assert {file.stem for file in PUBLISHED.glob("*.safetensors")} == licences.keys()
    notice = (PUBLISHED / "NOTICE").read_text(encoding="utf-8")
    for name, licence in licences.items():
        file = PUBLISHED / f"{name}.safetensors"
        assert file.stat().st_size < 50_000
        assert f"{name}.safetensors: " in notice
        with safe_open(file, "pt") as content:
            assert content.metadata()["license"] == licence
    for owner in ("2018, Richard Zhang", "2020 Keyan Ding", "2011 The University of Texas at Austin"):
        assert owner in notice


@pytest.mark.parametrize("net", BACKBONES)
def test_the_authors_package_gives_the_same(net, models):
    theirs = pytest.importorskip("lpips").LPIPS(net=net, pnet_rand=True, spatial=True, verbose=False).eval()
    names = {".".join(("features", *key.split(".")[1:])): key for key in theirs.net.state_dict()}
    theirs.net.load_state_dict({names[key]: value for key, value in models[net].features.state_dict().items()})
    image, target = torch.rand(1, 3, 64, 70), torch.rand(1, 3, 64, 70)
    with torch.no_grad():
        assert torch.allclose(models[net].spatial(image, target), theirs(image, target, normalize=True), atol=1e-5, rtol=1e-4)
