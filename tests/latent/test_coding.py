"""Tiles and slices against the whole image at once."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from restoralib.archs import DCAE
from restoralib.latent import tiled_decode, tiled_encode
from restoralib.metrics import psnr
from restoralib.ops.tile import plan_tiles
from restoralib.zoo import create_model, list_models, model_info

TRAINED = [name for name in list_models(bundled=True) if model_info(name).role == "autoencoder"]
EXAMPLES = Path(__file__).parents[2] / "examples"

RESIDUAL = {"encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock"}
FORMS = {
    "sana": {"downsample_block_type": "conv", "upsample_block_type": "interpolate"},
    "in": {
        "encoder_layers_per_block": (0, 2, 2),
        "decoder_layers_per_block": (0, 1, 2),
        "encoder_qkv_multiscales": ((), (), ()),
        "decoder_qkv_multiscales": ((), (), ()),
        "decoder_norm_types": ("batch_norm", "batch_norm", "rms_norm"),
    },
    "attention everywhere": {"encoder_block_types": "EfficientViTBlock", "decoder_block_types": "EfficientViTBlock"},
    "no attention": RESIDUAL,
}


def autoencoder(**change):
    config = {"latent_channels": 4, "attention_head_dim": 4}
    for half in ("encoder", "decoder"):
        config |= {
            f"{half}_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
            f"{half}_block_out_channels": (4, 8, 16),
            f"{half}_layers_per_block": (1, 1, 2),
            f"{half}_qkv_multiscales": ((), (3,), (5,)),
        }
    torch.manual_seed(0)
    net = DCAE(**config | change)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def images(*shape):
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(1)) - 1


def relative(value, expected):
    assert value.shape == expected.shape
    return float((value - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("form", "tile"), [("sana", 3), *((form, (5, 8)) for form in FORMS)])
def test_exact_tiles_give_what_the_whole_image_gives(form, tile):
    net = autoencoder(**FORMS[form])
    image = images(1, 3, 36, 76)
    latent = net.encode(image)
    assert relative(tiled_encode(net, image, tile=tile, exact=True), latent) <= 1e-5
    assert relative(tiled_decode(net, latent, tile=tile, exact=True), net.decode(latent)) <= 1e-5
    net.double()
    image, latent = image.double(), latent.double()
    assert relative(tiled_encode(net, image, tile=tile, exact=True), net.encode(image)) <= 1e-12
    assert relative(tiled_decode(net, latent, tile=tile, exact=True), net.decode(latent)) <= 1e-12


def test_blended_tiles_differ_where_attention_sees_a_tile_only():
    net, image = autoencoder(), images(1, 3, 52, 76)
    latent = net.encode(image)
    blended = relative(tiled_encode(net, image, tile=8), latent)
    assert 1e-5 < blended < 0.5
    assert 1e-5 < relative(tiled_decode(net, latent, tile=8), net.decode(latent)) < 0.5


def test_blended_tiles_are_exact_where_the_margin_holds_all_that_convolutions_see():
    net, image = autoencoder(**RESIDUAL), images(1, 3, 64, 208)
    latent = net.encode(image)
    assert relative(tiled_encode(net, image, tile=44, overlap=40), latent) <= 1e-5
    assert relative(tiled_decode(net, latent, tile=44, overlap=40), net.decode(latent)) <= 1e-5


def test_every_pixel_keeps_its_place_in_blended_tiles():
    """An autoencoder that only shuffles pixels gives the image back, whatever the tiles."""

    class Shuffle(nn.Module):
        factor, channels = 4, 48

        def encode(self, image):
            return nn.functional.pixel_unshuffle(image, 4)

        def decode(self, latent):
            return nn.functional.pixel_shuffle(latent, 4)

    image = images(2, 3, 37, 50)
    for tile, overlap in ((3, 0), (4, 2), ((5, 3), 1), (9, 4), (100, 4), (None, 4)):
        latent = tiled_encode(Shuffle(), image, tile=tile, overlap=overlap)
        assert latent.shape == (2, 48, 10, 13)
        back = tiled_decode(Shuffle(), latent, tile=tile, overlap=overlap, size=(37, 50))
        torch.testing.assert_close(back, image)


@pytest.mark.parametrize("size", [(1, 1), (3, 30), (4, 4), (17, 41)])
@pytest.mark.parametrize("exact", [False, True])
def test_any_size_is_taken(size, exact):
    net, image = autoencoder(), images(1, 3, *size)
    latent = tiled_encode(net, image, tile=6, exact=exact)
    assert latent.shape[-2:] == (-(-size[0] // 4), -(-size[1] // 4))
    assert tiled_decode(net, latent, tile=6, exact=exact, size=size).shape == image.shape


@pytest.mark.parametrize("exact", [False, True])
def test_slices_of_a_batch_are_the_batch(exact):
    net, image = autoencoder().double(), images(3, 3, 28, 40).double()
    latent = tiled_encode(net, image, tile=6, exact=exact)
    torch.testing.assert_close(tiled_encode(net, image, tile=6, exact=exact, batch=2), latent)
    whole = tiled_decode(net, latent, tile=6, exact=exact)
    torch.testing.assert_close(tiled_decode(net, latent, tile=6, exact=exact, batch=1), whole)


def test_no_more_than_a_tile_is_coded_at_once():
    net, sizes = autoencoder(), []
    net.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[-2:]))
    net.encoder.conv_in.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[-2:]))
    tiled_encode(net, images(1, 3, 120, 120), tile=8)
    assert max(max(size) for size in sizes) == 32
    sizes.clear()
    tiled_encode(net, images(1, 3, 120, 120), tile=8, exact=True)
    around = 2 * ((max(max(size) for size in sizes) - 32) // 2)
    assert 0 < around < 40  # the convolutions before the attention


def test_types_and_gradients_are_kept():
    net, image = autoencoder().to(torch.bfloat16), images(1, 3, 40, 40).to(torch.bfloat16)
    latent = tiled_encode(net, image, tile=6)
    assert latent.dtype == torch.bfloat16 == tiled_decode(net, latent, tile=6, exact=True).dtype
    with torch.inference_mode(False), torch.enable_grad():
        net, image = autoencoder(), images(1, 3, 40, 40).requires_grad_()
        tiled_encode(net, image, tile=6).square().sum().backward()
        assert image.grad.isfinite().all() and image.grad.any()


def test_errors_say_what_is_wrong():
    net, image = autoencoder(), images(1, 3, 40, 40)
    with pytest.raises(ValueError, match=r"encodes images \(b, 3, h, w\), got \(1, 1, 40, 40\)"):
        tiled_encode(net, image[:, :1])
    with pytest.raises(ValueError, match=r"encodes images \(b, 3, h, w\), got \(3, 40, 40\)"):
        tiled_encode(net, image[0])
    with pytest.raises(ValueError, match=r"decodes latents \(b, 4, h, w\), got \(1, 32, 8, 8\)"):
        tiled_decode(net, torch.rand(1, 32, 8, 8))
    with pytest.raises(ValueError, match="tiles of 4 with an overlap of 4 cannot advance"):
        tiled_encode(net, image, tile=4)
    with pytest.raises(ValueError, match="one latent at least, got tile=0"):
        tiled_encode(net, image, tile=0)
    with pytest.raises(ValueError, match="batch should be 1 or more"):
        tiled_encode(net, image, batch=0)
    with pytest.raises(ValueError, match=r"an image of 37 to 40 by 37 to 40 pixels, got size=\(36, 40\)"):
        tiled_decode(net, torch.rand(1, 4, 10, 10), size=(36, 40))

    class Unknown(nn.Module):
        factor, channels = 4, 4
        encode = decode = staticmethod(lambda x: x)

    with pytest.raises(ValueError, match="nothing tells the steps of Unknown"):
        tiled_decode(Unknown(), torch.rand(1, 4, 8, 8), exact=True)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("photograph", ["chelsea.png", "coffee.png"])
def test_seams_on_photographs_are_far_below_what_the_trained_autoencoder_loses(name, photograph):
    net = create_model(name, weights="bundled")
    with Image.open(EXAMPLES / photograph) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    image = pixels[..., : 16 * net.factor, : 40 * net.factor].float() / 127.5 - 1
    latent = net.encode(image)
    untiled = net.decode(latent)
    tiled = tiled_decode(net, tiled_encode(net, image, tile=16), tile=16)
    shown = [((each + 1) / 2).clamp(0, 1) for each in (tiled, untiled)]
    assert psnr(*shown) > 45
    cuts = [(start + stop) // 2 for (_, stop), (start, _) in pairwise(plan_tiles(latent.shape[-1], 16, 4))]
    for cut in cuts:
        seam = slice(net.factor * cut - 32, net.factor * cut + 32)
        assert psnr(*(each[..., seam] for each in shown)) > 45
    exact = tiled_decode(net, tiled_encode(net, image, tile=16, exact=True), tile=16, exact=True)
    assert relative(exact, untiled) <= 1e-5
