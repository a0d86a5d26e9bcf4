"""LatentRestorer restores any size by any tiling, and behind `restore` all kinds of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib import restore
from restoralib.archs import DCAE, SanaDenoiser, SanaTransformer
from restoralib.latent.restorer import LatentRestorer, degradation_text
from restoralib.metrics import psnr
from restoralib.restoration import Cancelled, OutOfMemory

AUTOENCODER = {
    "latent_channels": 4,
    "attention_head_dim": 8,
    "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (4, 8, 8),
    "decoder_block_out_channels": (4, 8, 8),
    "encoder_layers_per_block": (0, 1, 1),
    "decoder_layers_per_block": (0, 1, 1),
    "encoder_qkv_multiscales": ((), (), ()),
    "decoder_qkv_multiscales": ((), (), ()),
    "scaling_factor": 2.0,
}
DENOISER = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "num_cross_attention_heads": 1,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 9,
}


def networks(**changes):
    """An autoencoder, and a denoiser whose projection lets the condition through."""
    torch.manual_seed(0)
    autoencoder, denoiser = DCAE(**AUTOENCODER).eval(), SanaDenoiser(**DENOISER | changes).eval()
    with torch.no_grad():
        denoiser.proj.weight[:, denoiser.proj.in_channels // 2 :] += 0.5
    return autoencoder, denoiser


def restorer(**options):
    autoencoder, denoiser = networks(patch_size=options.pop("patch_size", 1))
    options = {"steps": 2, "tile": 32, "overlap": 8} | options
    return LatentRestorer(autoencoder, denoiser, degradation_text("denoise"), **options).eval()


def seeded(number=0):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("tiling", ["temporal", "overlap", "exact", None])
@pytest.mark.parametrize("size", [(1, 1), (5, 70), (61, 47), (64, 64)])
def test_any_size_by_any_tiling(tiling, size):
    image = torch.rand(2, 3, *size, generator=seeded())
    with torch.inference_mode():
        restored = restorer(tiling=tiling)(image, noise=seeded())
    assert restored.shape == image.shape and restored.isfinite().all()


def test_patches_of_several_latents():
    net = restorer(patch_size=2)
    assert net.token == 8 and net.latent_size(9, 8) == (4, 2)
    with torch.inference_mode():
        assert net(torch.rand(1, 3, 33, 40), noise=seeded()).shape == (1, 3, 33, 40)


def test_small_images_are_extended():
    net, image = restorer(least=30), torch.rand(1, 3, 9, 70, generator=seeded())
    assert net.latent_size(9, 70) == (8, 18)
    larger = torch.cat((image, image[:, :, -1:].expand(-1, -1, 23, -1)), 2)
    with torch.inference_mode():
        assert torch.allclose(net(image, noise=seeded()), net(larger, noise=seeded())[:, :, :9], atol=1e-6)
    assert restore(image, net, seed=0, tile=None).shape == image.shape


def test_a_step_is_that_of_the_flow():
    net, image = restorer(tiling=None, shift=1.0), torch.rand(1, 3, 16, 24, generator=seeded())
    noise = torch.randn(1, 4, 4, 6, generator=seeded())
    with torch.inference_mode():
        restored = net(image, noise=noise, steps=2)
        condition = 2.0 * net.autoencoder.encode(2 * image - 1)
        x = noise
        for t, r in ((1.0, 0.5), (0.5, 0.0)):
            x = x + (r - t) * net.denoiser(x, condition, 1000 * t, net.text)
        expected = (net.autoencoder.decode(x / 2.0) + 1) / 2
    assert torch.allclose(restored, expected, atol=1e-5)


def test_the_folded_denoiser_does_the_same():
    autoencoder, denoiser = networks()
    image, text = torch.rand(1, 3, 40, 40, generator=seeded()), degradation_text("denoise")
    with torch.inference_mode():
        apart, folded = (
            LatentRestorer(autoencoder, net, text, steps=2, tile=16, overlap=4).eval()(image, noise=seeded())
            for net in (denoiser, denoiser.fold_projection())
        )
    assert torch.allclose(apart, folded, atol=1e-5)


def test_exact_tiles_are_the_whole_latent():
    image = torch.rand(1, 3, 48, 80, generator=seeded())
    with torch.inference_mode():
        net = restorer(tiling="exact", tile=16, overlap=0)
        condition = net._encode(image, (64, 64), 0)
        noise = torch.randn(condition.shape, generator=seeded())
        tiles = net._denoiser(condition, (4, 4), 0)(noise, torch.tensor(1.0)).x0
        whole = net._denoiser(condition, (64, 64), 0)(noise, torch.tensor(1.0)).x0
    assert torch.allclose(tiles, whole, atol=1e-5)


def test_noise_is_one_for_all_tiles_and_depends_on_the_seed_alone():
    net, image = restorer(), torch.rand(1, 3, 40, 72, generator=seeded())
    noise = torch.randn(1, 4, *net.latent_size(40, 72), generator=seeded(3))
    state = torch.get_rng_state()
    with torch.inference_mode():
        assert torch.equal(net(image, noise=noise), net(image, noise=seeded(3)))
        assert not torch.equal(net(image, noise=seeded(3)), net(image, noise=seeded(4)))
    assert torch.equal(state, torch.get_rng_state())


def test_progress_counts_evaluations():
    calls = []
    with torch.inference_mode():
        restorer()(torch.rand(1, 3, 8, 8), steps=3, progress=lambda *told: calls.append(told))
    assert calls == [(1, 5, "encode"), (2, 5, "sample"), (3, 5, "sample"), (4, 5, "sample"), (5, 5, "decode")]


def test_networks_that_do_not_fit_are_refused():
    autoencoder, _ = networks()
    other = SanaDenoiser(**DENOISER | {"in_channels": 6, "out_channels": 6})
    with pytest.raises(ValueError, match=r"has latents of 4 channels; a denoiser for them takes .* got one that takes 12"):
        LatentRestorer(autoencoder, other, degradation_text("denoise"))


def test_a_network_that_sees_no_degraded_latents_is_refused():
    autoencoder, _ = networks()
    with pytest.raises(ValueError, match=r"beside those of the degraded image, 8 in all, .* got one that takes 4"):
        LatentRestorer(autoencoder, SanaTransformer(**DENOISER), degradation_text("denoise"))


@pytest.mark.parametrize("shape", [(1, 1, 7), (1, 9), (2, 1, 9)])
def test_a_text_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"the text should be \(1, m, 9\) for this denoiser"):
        LatentRestorer(*networks(), torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tiling": "spiral"}, "unknown tiling 'spiral'; choose one of temporal, overlap, exact or None"),
        ({"steps": 0}, "steps should be at least 1 and whole, got 0"),
        ({"tile": 30}, "tile should be a multiple of 4 pixels, which are one token, of 4 at least, got 30"),
        ({"overlap": 32}, "tiles should be larger than their overlap of 32 pixels, got 32x32"),
        ({"shift": 0.0}, "expected a positive shift, got 0.0"),
    ],
)
def test_arguments_that_make_no_restorer_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        restorer(**options)


def test_unknown_degradations_are_refused():
    with pytest.raises(ValueError, match="unknown degradation 'fog'; choose one of denoise"):
        degradation_text("fog")
    assert degradation_text("jpeg").tolist() == [[[0, 0, 1, 0, 0, 0, 0, 0, 0]]]


# Behind restore()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_kinds_of_images_are_kept(dtype, channels):
    shape = (19, 35) if channels is None else (19, 35, channels)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    restored = restore(image, restorer(), seed=0, steps=1)
    assert restored.shape == image.shape and restored.dtype == dtype
    if channels == 4:
        assert np.array_equal(restored[..., 3], image[..., 3])
    assert np.array_equal(restored, restore(image, restorer(), seed=0, steps=1))


def test_a_batch_has_a_seed_for_each_image():
    net, image = restorer(), torch.rand(1, 3, 20, 20, generator=seeded())
    both = restore(torch.cat((image, image)), net, seed=5)
    assert torch.equal(both[1:], restore(image, net, seed=6)) and not torch.equal(both[0], both[1])


def test_tiles_of_any_side_do_for_restore():
    net, image = restorer(), torch.rand(1, 3, 61, 90, generator=seeded())
    for tile in (30, (17, 200), None, "auto"):
        calls = []
        restored = restore(image, net, seed=0, tile=tile, steps=2, progress=lambda *told, calls=calls: calls.append(told))
        assert restored.shape == image.shape and calls[0][:2] == (0, 4) and calls[-1] == (4, 4, "decode")
    with pytest.raises(Cancelled):
        restore(image, net, progress=lambda done, total, stage: done < 2)


@pytest.mark.parametrize("size", [(61, 90), (9, 90)])  # neither ends with a token, and one is extended
def test_a_tile_that_holds_the_image_cuts_nothing(size):
    net, image = restorer(least=32, tiling="overlap", overlap=0), torch.rand(1, 3, *size, generator=seeded())
    whole = restore(image, net, seed=0, tile=400)
    for tile in (None, "auto", 90, size):
        torch.testing.assert_close(restore(image, net, seed=0, tile=tile), whole, rtol=0, atol=0)
    assert not torch.equal(restore(image, net, seed=0, tile=32), whole)


def test_a_negative_overlap_is_refused():
    with pytest.raises(ValueError, match="overlap should not be negative, got -5"):
        restore(torch.rand(3, 8, 8), restorer(), overlap=-5)


def test_half_precision_and_float64_run():
    net, image = restorer(), torch.rand(1, 3, 20, 28, generator=seeded())
    precise = restore(image, net, seed=0, dtype="float64")
    assert psnr(restore(image, net, seed=0), precise).item() > 80
    assert psnr(restore(image, net, seed=0, dtype="bfloat16"), precise).item() > 25
    assert next(net.parameters()).dtype == torch.float32  # the caller's is not touched


def test_what_overflows_in_half_precision_is_sampled_again_in_float32(monkeypatch):
    net, image, plain, seen = restorer(), torch.rand(1, 3, 20, 28, generator=seeded()), DCAE.encode, []

    def large(self, x):  # more than float16 has, where it is the type of the computation
        return plain(self, x) * (1e30 if torch.is_autocast_enabled("cpu") else 1)

    monkeypatch.setattr(DCAE, "encode", large)
    with pytest.warns(UserWarning, match=r"overflows in torch.float16; such tiles are computed in float32") as told:
        restored = restore(image.repeat(2, 1, 1, 1), net, seed=0, dtype="float16", progress=lambda *news: seen.append(news[:2]))
    assert len(told) == 1
    torch.testing.assert_close(restored, restore(image.repeat(2, 1, 1, 1), net, seed=0))
    assert seen[-1][0] == seen[-1][1] == 2 * net.calls() and [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(FloatingPointError, match=r"the model overflows in torch.float16; use dtype='float32'"):
        restore(image, net, seed=0, dtype="float16", strict=True)


@pytest.mark.parametrize("steps", [1.5, 0, True, "4"])
def test_steps_that_are_none_are_refused(steps):
    with pytest.raises(ValueError, match="steps should be at least 1 and whole"):
        restore(torch.rand(3, 8, 8), restorer(), steps=steps)


@pytest.mark.parametrize(
    "asked", [{"prompt": "denoise"}, {"exact": True}, {"ensemble": True}, {"batch": 2}, {"sampler": "ddim"}, {"scale": 2}]
)
def test_arguments_without_use_are_refused(asked):
    with pytest.raises(ValueError, match=f"{next(iter(asked))}: not for a LatentRestorer"):
        restore(torch.rand(3, 8, 8), restorer(), **asked)


def test_a_picture_comes_back_as_a_picture():
    restored = restore(Image.new("L", (21, 13), 90), restorer(), seed=0)
    assert (restored.mode, restored.size) == ("L", (21, 13))


def test_tiles_that_do_not_fit_into_memory_are_halved(monkeypatch):
    image, net, plain = torch.rand(1, 3, 24, 130), restorer(tiling="overlap"), DCAE.encode
    expected = restore(image, net, seed=0, tile=(24, 64))

    def limited(self, x):
        if x.shape[-1] > limit:
            raise torch.OutOfMemoryError("words")
        return plain(self, x)

    monkeypatch.setattr(DCAE, "encode", limited)
    limit = 64
    assert torch.equal(restore(image, net, seed=0, tile=(24, 128)), expected)
    limit = 0
    with pytest.raises(OutOfMemory, match=r"tiles of 24 x 32 in torch.float32 .*\(words\)"):
        restore(image, net, seed=0, tile=(24, 128))
