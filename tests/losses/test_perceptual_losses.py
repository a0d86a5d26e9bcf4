"""Losses on features: layers before and after activations, criteria, style, sharing, and missing weights."""

import copy

import pytest
import torch
from goldens.features import filled_weights

from restoralib.blocks.features import imagenet_normalize, load_features
from restoralib.losses import (
    PERCEPTUAL,
    PerceptualLoss,
    SRGANGeneratorLoss,
    gram_matrix,
    mse_loss,
    total_variation_squared,
)
from restoralib.metrics import LPIPS


@pytest.fixture(scope="module")
def squeeze():
    return load_features("squeezenet1_1", filled_weights("squeezenet1_1"))


@pytest.fixture(scope="module")
def vgg():
    return {net: load_features(net, filled_weights(net)) for net in ("vgg16", "vgg19")}


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 36, generator=generator), torch.rand(2, 3, 32, 36, generator=generator)


@pytest.mark.parametrize("name", PERCEPTUAL)
def test_every_named_loss_is_zero_for_equal_images_and_has_a_gradient_for_the_result_alone(name, vgg):
    loss = PerceptualLoss.named(name, weights=vgg[PERCEPTUAL[name]["net"]])
    restored, target = (image.requires_grad_() for image in images())
    value = loss(restored, target)
    value.backward()
    assert value.shape == ()
    assert value > 0
    assert restored.grad.abs().max() > 0
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert loss(target, target).item() == 0


def test_convolutions_are_compared_before_their_activation(vgg):
    restored, target = images()
    ours, theirs = (vgg["vgg19"](imagenet_normalize(side), ["conv1_2", "relu1_2"]) for side in (restored, target))
    for layer, x, y in zip(("conv1_2", "relu1_2"), ours, theirs, strict=True):
        loss = PerceptualLoss({layer: 2.0}, weights=vgg["vgg19"])
        assert torch.isclose(loss(restored, target), 2 * (x - y).abs().mean())
    assert ours[0].min() < 0


def test_layers_are_weighted_and_summed_in_any_order(squeeze):
    restored, target = images()
    single = [PerceptualLoss({layer: 1.0}, net="squeezenet1_1", weights=squeeze)(restored, target) for layer in (1, 4)]
    both = PerceptualLoss({4: 0.5, 1: 2.0}, net="squeezenet1_1", weights=squeeze)
    assert torch.isclose(both(restored, target), 2 * single[0] + 0.5 * single[1])


@pytest.mark.parametrize("criterion", ["l1", "mse", "fro"])
def test_content_and_style_follow_the_criterion(criterion, squeeze):
    restored, target = images()
    loss = PerceptualLoss({1: 1.0}, net="squeezenet1_1", criterion=criterion, content=0.5, style=3.0, weights=squeeze)
    (x,), (y,) = (squeeze(imagenet_normalize(side), [1]) for side in (restored, target))
    measure = {
        "l1": lambda d: d.abs().mean(),
        "mse": lambda d: d.square().mean(),
        "fro": lambda d: d.square().sum().sqrt(),
    }[criterion]
    content, style = loss.parts(restored, target)
    assert torch.isclose(content, 0.5 * measure(x - y))
    assert torch.isclose(style, 3 * measure(gram_matrix(x) - gram_matrix(y)))
    assert torch.isclose(loss(restored, target), content + style)


def test_gram_matrices_are_means_of_products():
    features = torch.rand(2, 3, 4, 5)
    gram = gram_matrix(features)
    assert gram.shape == (2, 3, 3)
    assert gram[1, 0, 2].item() == pytest.approx((features[1, 0] * features[1, 2]).sum().item() / 60)
    assert gram_matrix(features.half()).dtype == torch.float32


def test_ranges_and_types_are_converted(squeeze):
    restored, target = images()
    options = {"net": "squeezenet1_1", "weights": squeeze}
    plain = PerceptualLoss({1: 1.0}, **options)(restored, target)
    signed = PerceptualLoss({1: 1.0}, signed=True, **options)(2 * restored - 1, 2 * target - 1)
    assert torch.isclose(plain, signed, rtol=1e-4)
    assert PerceptualLoss({1: 1.0}, normalize=False, **options)(restored, target) < plain
    assert PerceptualLoss({1: 1.0}, **options)(restored.half(), target.half()).dtype == torch.float32
    double = copy.deepcopy(PerceptualLoss({1: 1.0}, **options)).double()
    assert torch.isclose(double(restored, target).float(), plain, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert PerceptualLoss({1: 1.0}, **options)(restored, target).item() == pytest.approx(plain.item(), rel=0.05)


def test_srgans_loss_is_its_four_parts(vgg):
    restored, target = images()
    probabilities = torch.tensor([0.2, 0.6])
    features = PerceptualLoss({"pool5": 1.0}, net="vgg16", criterion="mse", normalize=False, weights=vgg["vgg16"])
    expected = mse_loss(restored, target) + 0.001 * 0.6 + 0.006 * features(restored, target)
    expected = expected + 2e-8 * total_variation_squared(restored)
    assert torch.isclose(SRGANGeneratorLoss(weights=vgg["vgg16"])(restored, target, probabilities), expected)


def test_the_papers_content_loss_scales_features(vgg):
    restored, target = images()
    (x,), (y,) = (vgg["vgg19"](imagenet_normalize(side), ["relu5_4"]) for side in (restored, target))
    loss = PerceptualLoss.named("srgan", weights=vgg["vgg19"])
    assert torch.isclose(loss(restored, target), ((x - y) / 12.75).square().mean())


def test_metric_and_loss_share_a_network(squeeze):
    metric = LPIPS("squeeze", weights=squeeze)
    assert PerceptualLoss({1: 1.0}, net="squeezenet1_1", weights=metric.features).features is squeeze
    with pytest.raises(ValueError, match="the features to share are of squeezenet1_1, and vgg19 is needed"):
        PerceptualLoss(weights=metric.features)


def test_wrong_arguments_and_missing_weights_are_named(squeeze, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"vgg19-dcbb9e9d\.pth"):
        PerceptualLoss.named("esrgan")
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af\.pth"):
        SRGANGeneratorLoss()
    with pytest.raises(ValueError, match=r"unknown perceptual loss 'esrgn'; choose one of esrgan, real-esrgan"):
        PerceptualLoss.named("esrgn")
    options = {"net": "squeezenet1_1", "weights": squeeze}
    with pytest.raises(ValueError, match="'l1', 'mse' or 'fro', got 'l2'"):
        PerceptualLoss({1: 1.0}, criterion="l2", **options)
    with pytest.raises(ValueError, match="nothing is compared"):
        PerceptualLoss({1: 1.0}, content=0, **options)
    with pytest.raises(ValueError, match="nothing is compared"):
        PerceptualLoss({}, **options)
    with pytest.raises(ValueError, match="has no layer 'conv5_4'"):
        PerceptualLoss(**options)
    restored, target = images()
    loss = PerceptualLoss({1: 1.0}, **options)
    with pytest.raises(ValueError, match="two images of one shape"):
        loss(restored, target[:1])
    with pytest.raises(ValueError, match=r"colour images \(b, 3, h, w\)"):
        loss(restored[:, :1], target[:, :1])
