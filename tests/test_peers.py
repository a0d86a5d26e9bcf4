"""Networks against those of spandrel, for the same random weights; skipped without it."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from restoralib import archs

RRDB = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 12, "num_block": 2, "num_grow_ch": 32}
RCAN = {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 8, "reduction": 2, "scale": 2}
COMPACT = {"num_feat": 8, "num_conv": 3, "act_type": "prelu"}
DNCNN = {"in_nc": 3, "out_nc": 3, "nc": 8, "nb": 17, "act_mode": "R"}
DRUNET = {"in_nc": 4, "out_nc": 3, "nc": (8, 12, 16, 20), "nb": 2}
HAT = {
    "embed_dim": 12,
    "depths": (2, 1),
    "num_heads": (2, 3),
    "window_size": 8,
    "compress_ratio": 3,
    "squeeze_factor": 4,
    "mlp_ratio": 2.0,
    "upscale": 2,
}
# class -> configurations that spandrel recognises from the weights; it gets what our class gets, and gives the same.
SPANDREL = [
    ("RRDBNet", RRDB),
    ("RRDBNet", RRDB | {"scale": 2}),
    ("RRDBNet", RRDB | {"scale": 1}),
    ("RRDBNet", RRDB | {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 20, "num_block": 1}),
    ("RCAN", RCAN),
    ("RCAN", RCAN | {"n_resgroups": 1, "n_resblocks": 3, "n_feats": 12, "reduction": 4, "scale": 3}),
    ("RCAN", RCAN | {"n_feats": 6, "scale": 8}),
    ("SRVGGNetCompact", COMPACT),
    ("SRVGGNetCompact", COMPACT | {"upscale": 2, "num_feat": 20}),
    ("SRVGGNetCompact", COMPACT | {"upscale": 1, "num_conv": 1}),
    ("DnCNN", DNCNN),
    ("DnCNN", DNCNN | {"in_nc": 1, "out_nc": 1, "nc": 12, "nb": 20}),
    ("DRUNet", DRUNET),
    ("DRUNet", DRUNET | {"in_nc": 3, "nb": 3}),
    ("DRUNet", DRUNET | {"in_nc": 2, "out_nc": 1, "nb": 4}),
    ("SCUNet", {"config": (2, 1, 1, 2, 1, 1, 2)}),
    ("SCUNet", {"in_nc": 1, "config": (1, 2, 2, 1, 2, 2, 1)}),
    ("HAT", HAT),
    ("HAT", HAT | {"embed_dim": 24, "depths": (3,), "num_heads": (2,), "upscale": 4, "qkv_bias": False}),
    ("HAT", HAT | {"window_size": 16, "upscale": 3, "mlp_ratio": 4.0, "compress_ratio": 2, "squeeze_factor": 6}),
    ("HAT", HAT | {"overlap_ratio": 0.25, "upscale": 1, "patch_norm": False, "resi_connection": "identity"}),
    ("HAT", HAT | {"in_chans": 1, "upscale": 8}),
]
# It brings these into an older layout.
RENAMED = {"RRDBNet", "RCAN"}
# Whole windows: it extends images by reflection, where the authors repeat the last pixels.
SIZES = {"SCUNet": ((64, 64), (64, 128))}


MPRNET = {"n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 6, "num_cab": 2, "reduction": 2}


def with_random_weights(net):
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.double().eval()


@pytest.mark.parametrize(
    ("name", "config"), [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(SPANDREL)]
)
@pytest.mark.parametrize("number", [0, 1])
def test_spandrel_gives_the_same(name, config, number):
    spandrel = pytest.importorskip("spandrel")
    ours = with_random_weights(getattr(archs, name)(**config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = spandrel.ModelLoader().load_from_state_dict(dict(ours.state_dict())).model.double().eval()
    if name not in RENAMED:
        assert list(theirs.state_dict()) == list(ours.state_dict())
        assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    size = SIZES.get(name, ((16, 24), (32, 16)))[number]
    image = torch.rand(2, ours.spec.in_channels, *size, dtype=torch.float64)
    given = (image.clone(),)  # some change their input
    arguments = (image,)
    if name == "DRUNet" and not ours.blind:  # theirs wants the map of the noise level as a channel
        level = torch.rand(2, 1, *size, dtype=torch.float64)
        given, arguments = (torch.cat((image, level), 1),), (image, level)
    with torch.inference_mode():
        expected, result = theirs(*given), ours(*arguments)
    assert ((result - expected).abs().max() / expected.abs().max()).item() <= 1e-10


@pytest.mark.parametrize("change", [{}, {"bias": True, "kernel_size": 5, "reduction": 3}, {"in_c": 1, "out_c": 1}])
@pytest.mark.parametrize("size", [(16, 24), (40, 8)])
def test_spandrel_extra_arches_gives_the_same_mprnet(change, size):
    peer = pytest.importorskip("spandrel_extra_arches.architectures.MPRNet")
    ours = with_random_weights(archs.MPRNet(**MPRNET | change))
    theirs = peer.MPRNet(**MPRNET | change).double()
    theirs.load_state_dict(ours.state_dict())
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    image = torch.rand(2, ours.spec.in_channels, *size, dtype=torch.float64)
    with torch.inference_mode():
        stages = zip(ours.train()(image), theirs(image), strict=True)
    assert max(((result - expected).abs().max() / expected.abs().max()).item() for result, expected in stages) <= 1e-10


@pytest.mark.slow
def test_deepinv_gives_the_same_prior_of_faces():
    peer = pytest.importorskip("deepinv.models", exc_type=ImportError)
    torch.manual_seed(0)
    theirs = peer.DiffUNet(pretrained=None).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.05)
    ours = archs.GuidedUNet(**archs.VARIANTS["adm_ffhq_10m"].config).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.endswith("alphas_cumprod")})
    image, time = torch.randn(1, 3, 64, 32), torch.tensor([321.0])
    with torch.inference_mode():
        expected, result = theirs.forward_diffusion(image, time), ours(image, time)
    assert ((result - expected).abs().max() / expected.abs().max()).item() <= 1e-5  # theirs is float32 alone


KL = {"block_out_channels": (8, 16, 24), "norm_num_groups": 4}
KL_DOWN, KL_UP = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"), ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


@pytest.mark.parametrize(
    "change",
    [
        {"layers_per_block": 2},
        {"down_block_types": (KL_DOWN[1], *KL_DOWN), "up_block_types": (KL_UP[0], *KL_UP), "act_fn": "gelu"},
        {"use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False, "latent_channels": 16},
    ],
    ids=["stable-diffusion", "attention", "without"],
)
def test_diffusers_gives_the_same_kl_autoencoder(change):
    diffusers = pytest.importorskip("diffusers")
    config = {"down_block_types": KL_DOWN[:1] * 3, "up_block_types": KL_UP[:1] * 3} | KL | change
    ours, theirs = with_random_weights(archs.KLAutoencoder(**config)), diffusers.AutoencoderKL(**config).double().eval()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    image = 2 * torch.rand(2, 3, 24, 16, dtype=torch.float64) - 1
    with torch.inference_mode():
        posterior = theirs.encode(image).latent_dist
        pairs = [(ours.moments(image), posterior.parameters), (ours.encode(image), posterior.mode())]
        pairs.append((ours.decode(posterior.mean), theirs.decode(posterior.mean).sample))
    assert max(((result - expected).abs().max() / expected.abs().max()).item() for result, expected in pairs) <= 1e-10
