"""One benchmark a network in a published configuration, random weights."""

import pytest

from restoralib.archs import example_inputs
from restoralib.zoo import create_model, model_info

SIDES = {
    "fsrcnn_x4": 256,
    "srresnet_x4": 64,
    "msrresnet_x4": 64,
    "nafnet_sidd_width32": 256,
    "nafnet_gopro_width32": 256,
    "baseline_sidd_width32": 256,
    "swinir_lightweight_x4": 64,
    "hat_s_x4": 32,
    "edsr_baseline_x4": 64,
    "scunet_color_25": 64,
    "rcan_x4": 32,
    "rlfn_x4": 128,
    "realesrgan_x4plus_anime_6b": 32,
    "realesr_general_x4v3": 64,
    "realesrgan_x4plus_discriminator": 128,
    "esrgan_discriminator_128": 128,
    "mprnet_deraining": 64,
    "prenet_rain100h": 128,
    "restormer_deraining": 128,
    "promptir": 128,
    "diffir_gopro": 128,
    "dehazeformer_t_indoor": 128,
    "dmcnn": 128,
    "irsde_derain_rain100h": 64,
    "refusion": 64,
    "adm_ffhq_10m": 64,
    "sr3_faces_16_128": 64,
    "palette_inpainting_celebahq": 64,
    "retinexnet_lol": 64,
    "snr_aware_lolv1": 64,
    "zero_dce": 128,
    "zero_dce_pp": 256,
}


@pytest.mark.parametrize("name", SIDES)
def test_network(name, timed):
    side = SIDES[name]
    net = create_model(name)
    timed(net, *example_inputs(net.spec, (side, side)), pixels=side**2)
    assert model_info(name).parameters == sum(p.numel() for p in net.parameters())
