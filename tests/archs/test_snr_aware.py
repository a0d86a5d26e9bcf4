"""SNR-Aware; tests/test_goldens_archs.py holds it against the reference."""

import functools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restoralib import archs
from restoralib.archs.snr_aware import VARIANTS, MultiHeadAttention, SNRAware, Transformer, infer_config, snr_map
from restoralib.checkpoints import load_model, skeleton


@functools.cache
def network(pad_multiple=4):
    torch.manual_seed(0)
    return SNRAware(front_RBs=0, back_RBs=0, pad_multiple=pad_multiple).eval().requires_grad_(False)


def scene(height, width, batch=1):
    """A ramp from dark to bright, with noise in its upper half."""
    torch.manual_seed(0)
    image = torch.linspace(0.05, 0.5, width).expand(batch, 3, height, width).clone()
    image[..., : height // 2, :] += 0.02 * torch.randn(batch, 3, height // 2, width)
    return image.clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (3, 9), (24, 17)])
def test_the_map_is_made_as_by_opencv(size):
    image = scene(*size, batch=2).double()
    assert archs.snr_map is snr_map
    ours = snr_map(image)
    for one, found in zip(image.numpy(), ours, strict=True):
        around = np.pad(one * 255, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        blurred = np.stack([around[:, i : i + size[0], j : j + size[1]] for i in range(5) for j in range(5)]).mean(0) / 255
        grey, signal = (np.tensordot((0.299, 0.587, 0.114), rgb, 1) for rgb in (one, blurred))
        ratio = signal / (np.abs(grey - signal) + 1e-4)
        expected = torch.from_numpy(np.clip(ratio / (ratio.max() + 1e-4), 0, 1))
        torch.testing.assert_close(found[0], expected)


def test_the_map_is_of_the_image_alone():
    image = torch.cat((scene(16, 20), 0.1 * scene(16, 20)))
    torch.testing.assert_close(snr_map(image)[1:], snr_map(image[1:]))
    half = snr_map(image.half())
    assert half.dtype == torch.float32 and half.amax() <= 1
    with pytest.raises(ValueError, match=r"snr_map expects RGB images \(b, 3, h, w\), got shape \(3, 4, 5\)"):
        snr_map(torch.zeros(3, 4, 5))


def reference_attention(attention, tokens, seen):
    """The formula, with scores of -1e9 for tokens that are not to be seen."""
    x = attention.layer_norm(tokens)
    q, k, v = (linear(x).unflatten(-1, (8, 64)).transpose(1, 2) for linear in (attention.w_qs, attention.w_ks, attention.w_vs))
    scores = (q @ k.mT / 8).masked_fill(~seen[:, None, None], -1e9)
    return tokens + attention.fc((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_of_noise_are_not_seen_and_all_alike_where_there_are_no_others(dtype):
    torch.manual_seed(0)
    attention = MultiHeadAttention().to(dtype).requires_grad_(False)
    tokens = torch.randn(3, 7, 1024, dtype=dtype)
    seen = torch.tensor([[True] * 7, [False] * 7, [True, False, True, False, False, True, False]])
    torch.testing.assert_close(attention(tokens, seen), reference_attention(attention, tokens, seen))
    uniform = attention.w_vs(attention.layer_norm(tokens[1])).mean(0)
    torch.testing.assert_close(attention(tokens, seen)[1], tokens[1] + attention.fc(uniform))


def test_attention_goes_patch_by_patch_and_gives_nothing_beyond_the_last_whole_one():
    transformer = Transformer(depth=0)
    x = torch.randn(2, 64, 9, 14)
    attended = transformer(x, torch.rand(2, 1, 9, 14))
    assert torch.equal(attended[..., :8, :12], x[..., :8, :12])
    assert not attended[..., 8:, :].any() and not attended[..., 12:].any()


def test_tokens_are_unfolded_channel_by_channel_and_seen_from_one_half():
    class Spy(torch.nn.Module):
        def forward(self, tokens, seen):
            self.tokens, self.seen = tokens, seen
            return tokens

    transformer = Transformer(depth=0)
    transformer.layer_stack.append(spy := Spy())
    x = torch.randn(1, 64, 8, 12)
    ratio = torch.full((1, 1, 8, 12), 0.5)
    ratio[..., 4, 5] = 0.51
    transformer(x, ratio)
    assert torch.equal(spy.tokens, F.unfold(x, 4, stride=4).mT)
    assert spy.seen.tolist() == [[False, False, False, False, True, False]]


@pytest.mark.parametrize(
    ("pad_multiple", "size", "padded"), [(4, (21, 34), (24, 36)), (16, (21, 34), (32, 48)), (4, (9, 34), (16, 36))]
)
def test_images_are_padded_by_reflection_after_the_map_was_made(pad_multiple, size, padded):
    net, image = network(pad_multiple), scene(*size)
    margin = (0, padded[1] - size[1], 0, padded[0] - size[0])
    larger, ratio = (F.pad(x, margin, mode="reflect") for x in (image, snr_map(image)))
    torch.testing.assert_close(net(image), net(larger, ratio)[..., : size[0], : size[1]])


def test_whole_patches_reach_the_border():
    image = scene(32, 40)
    dark = torch.zeros(1, 1, 32, 40)  # attention alone
    with_rest, whole = network(4)(image, dark), network(16)(image, dark)
    assert network(4)(image[..., :32], dark[..., :32]).equal(network(16)(image[..., :32], dark[..., :32]))
    assert (with_rest - whole)[..., 36:].abs().max() > 1e-3


def test_a_map_can_be_brought():
    net, image = network(), scene(16, 32)
    torch.testing.assert_close(net(image, snr_map(image)), net(image))
    assert (net(image, torch.ones(1, 1, 16, 32)) - net(image)).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"mask should be of shape \(1, 1, 16, 32\), one map an image, got \(1, 1, 8, 8\)"):
        net(image, torch.ones(1, 1, 8, 8))


def test_published_variants():
    assert len(VARIANTS) == 7
    for variant in VARIANTS.values():
        net = skeleton(SNRAware, variant.config)
        assert len(net.state_dict()) == 118
        assert sum(parameter.numel() for parameter in net.parameters()) == 39_124_099
        told = infer_config(net.state_dict())
        assert told.cls is SNRAware and told.config.items() <= variant.config.items()
        assert net.spec.tasks == variant.tasks == ("low_light",)
        assert net.spec == skeleton(SNRAware, {}).spec


def test_a_file_can_be_loaded_for_whole_patches(tmp_path):
    torch.save({f"module.{key}": value for key, value in network().state_dict().items()}, tmp_path / "LOLv1.pth")
    net, image = load_model(tmp_path / "LOLv1.pth", pad_multiple=16), scene(21, 34)
    with torch.inference_mode():
        torch.testing.assert_close(net(image), network(16)(image))


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    others = {"nframes": 3, "groups": 4, "center": 2, "predeblur": False, "w_TSA": False}  # without effect
    states = functools.cache(lambda **depths: skeleton(SNRAware, depths | others).state_dict())
    for _ in range(200):  # of which many are alike: to build one takes a tenth of a second
        depths = {"front_RBs": draw.randint(0, 3), "back_RBs": draw.choice([0, 1, 11])}
        told = infer_config(states(**depths))
        assert {name: told.config[name] for name in depths} == depths


@pytest.mark.parametrize(
    "change",
    [
        {"conv_first.weight": torch.zeros(64, 3, 3, 3)},  # HR_in=False
        {"transformer.layer_stack.6.slf_attn.fc.weight": torch.zeros(1024, 512)},
        {"conv_first_1.weight": torch.zeros(32, 3, 3, 3)},
        {"conv_last.weight": torch.zeros(())},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(skeleton(SNRAware, {}).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"nf": 32}, "nf should be 64, got 32: the transformer's tokens are patches of 4x4 pixels with 64 channels"),
        ({"HR_in": False}, "HR_in should be True: the network has no path"),
        ({"front_RBs": -1}, "front_RBs should be a whole number of at least 0, got -1"),
        ({"back_RBs": 0.5}, "back_RBs should be a whole number of at least 0, got 0.5"),
        ({"pad_multiple": 8}, "pad_multiple should be 4, as the authors have it, or 16 for whole patches, got 8"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        SNRAware(**config)


@pytest.mark.slow
def test_exports_for_all_multiples_of_the_patch():
    net = network()
    sizes = {2: 16 * torch.export.Dim("rows", min=3, max=100), 3: 16 * torch.export.Dim("columns", min=3, max=100)}
    exported = torch.export.export(net, (scene(48, 64),), dynamic_shapes=(sizes,), strict=False).module()
    for size in ((64, 80), (96, 48)):
        image = scene(*size)
        torch.testing.assert_close(exported(image), net(image))
