"""What holds for every network: one body over all classes, one over all published configurations."""

from __future__ import annotations

import copy
import pickle
import random
import warnings

import pytest
import torch
from torch import nn

from restoralib import archs, restore
from restoralib.archs import ARCHITECTURES, VARIANTS, example_inputs
from restoralib.checkpoints import CheckpointWarning, load_model, recognize, skeleton
from restoralib.zoo import TASKS

UNET = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 2], "dec_blk_nums": [1, 1]}
DIRFORMER = {"n_encoder_res": 1, "dim": 4, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]}
TINY = {
    "SRCNN": {},
    "FSRCNN": {"scale_factor": 3, "d": 4, "s": 3, "m": 1},
    "SRResNet": {"channels": 4, "num_rcb": 2, "upscale": 2},
    "SRGANDiscriminator": {"channels": 2},
    "MSRResNet": {"num_feat": 4, "num_block": 2, "upscale": 3},
    "PlainNet": UNET,
    "Baseline": UNET,
    "BaselineLocal": UNET | {"train_size": [1, 3, 16, 16]},
    "NAFNet": UNET,
    "NAFNetLocal": UNET | {"train_size": [1, 3, 16, 16]},
    "SwinIR": {
        "embed_dim": 8,
        "depths": [2, 1],
        "num_heads": [2, 2],
        "window_size": 4,
        "upscale": 2,
        "upsampler": "pixelshuffle",
    },
    "HAT": {
        "embed_dim": 8,
        "depths": [2, 1],
        "num_heads": [2, 2],
        "window_size": 4,
        "compress_ratio": 2,
        "squeeze_factor": 2,
        "mlp_ratio": 2.0,
    },
    "EDSR": {"n_resblocks": 2, "n_feats": 4, "scale": 3},
    "DnCNN": {"in_nc": 3, "out_nc": 3, "nc": 4, "nb": 3, "act_mode": "R"},
    "DRUNet": {"nc": [4, 6, 8, 10], "nb": 1},
    "SCUNet": {"config": [1, 1, 1, 2, 1, 1, 1]},
    "RCAN": {"n_resgroups": 2, "n_resblocks": 1, "n_feats": 8, "reduction": 1, "scale": 2},
    "RLFN": {"feature_channels": 6, "mid_channels": 5, "num_blocks": 2, "esa_channels": 4, "upscale": 2},
    "RRDBNet": {"num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 4, "num_block": 2, "num_grow_ch": 2},
    "SRVGGNetCompact": {"num_feat": 4, "num_conv": 2, "upscale": 3},
    "UNetDiscriminatorSN": {"num_in_ch": 3, "num_feat": 2},
    "DegradationClassifier": {"spectral": (4, 6), "cellular": (4, 6), "numbers": 8, "hidden": 16},
    "VGGStyleDiscriminator": {"num_in_ch": 3, "num_feat": 2},
    "MPRNet": {"n_feat": 8, "scale_unetfeats": 2, "scale_orsnetfeats": 2, "num_cab": 1, "reduction": 1},
    "PReNet": {"recurrent_iter": 2},
    "PReNet_r": {"recurrent_iter": 2},
    "PRN": {"recurrent_iter": 2},
    "PRN_r": {"recurrent_iter": 2},
    "Restormer": {"dim": 4, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]},
    "PromptIR": {"dim": 4, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]},
    "DiffIRS1": DIRFORMER | {"variant": "deblur"},
    "DiffIRS2": DIRFORMER | {"variant": "sr", "scale": 2},
    "ConditionalUNet": {"nf": 4, "depth": 2},
    "ConditionalNAFNet": UNET,
    "GuidedUNet": {
        "image_size": 32,
        "in_channels": 4,
        "model_channels": 32,
        "out_channels": 6,
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "channel_mult": [1, 2, 1],
        "num_classes": 5,
        "num_heads": 2,
    },
    "SR3UNet": {"inner_channel": 8, "norm_groups": 4, "channel_mults": [1, 2, 2], "attn_res": [64], "res_blocks": 1},
    "PaletteUNet": {
        "image_size": 32,
        "in_channel": 6,
        "inner_channel": 32,
        "out_channel": 3,
        "res_blocks": 1,
        "attn_res": [2],
        "channel_mults": [1, 1],
        "num_head_channels": 16,
    },
    "SanaTransformer": {
        "in_channels": 6,
        "out_channels": 5,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "num_cross_attention_heads": 4,
        "cross_attention_head_dim": 6,
        "cross_attention_dim": 32,
        "caption_channels": 12,
        "patch_size": 2,
        "sample_size": 16,
        "interpolation_scale": 2.0,
        "qk_norm": "rms_norm_across_heads",
    },
    "SanaDenoiser": {
        "in_channels": 6,
        "out_channels": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 2,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": 12,
    },
    "DCAE": {
        "latent_channels": 4,
        "attention_head_dim": 4,
        "encoder_block_types": ["ResBlock", "EfficientViTBlock", "EfficientViTBlock"],
        "decoder_block_types": ["ResBlock", "EfficientViTBlock", "EfficientViTBlock"],
        "encoder_block_out_channels": [8, 8, 16],
        "decoder_block_out_channels": [8, 16, 16],
        "encoder_layers_per_block": [0, 1, 1],
        "decoder_layers_per_block": [1, 1, 1],
        "encoder_qkv_multiscales": [[], [], [3, 5]],
        "decoder_qkv_multiscales": [[], [], [5]],
        "upsample_block_type": "interpolate",
        "decoder_norm_types": ["batch_norm", "rms_norm", "rms_norm"],
        "decoder_act_fns": ["relu", "silu", "silu"],
    },
    "KLAutoencoder": {
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
    },
    "StableSRUNet": {
        "image_size": 8,
        "in_channels": 4,
        "model_channels": 32,
        "out_channels": 4,
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "channel_mult": [1, 2],
        "num_head_channels": 16,
        "context_dim": 6,
        "use_linear_in_transformer": True,
        "semb_channels": 8,
    },
    "StableSRGuidanceEncoder": {
        "image_size": 8,
        "in_channels": 4,
        "model_channels": 32,
        "out_channels": 8,
        "num_res_blocks": 1,
        "attention_resolutions": [1],
        "channel_mult": [1, 2],
        "num_heads": 2,
    },
    "StableSRAutoencoder": {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "num_fuse_block": 1},
    "DehazeFormer": {
        "window_size": 4,
        "embed_dims": [8, 16, 16, 16, 8],
        "depths": [1, 2, 2, 1, 1],
        "num_heads": [2, 2, 2, 1, 1],
        "attn_ratio": [0, 1, 0.5, 0, 0],
        "conv_type": ["DWConv", "Conv", "DWConv", "Conv", "DWConv"],
    },
    "DMCNN": {},
    "DecomNet": {"channel": 4},
    "RelightNet": {"channel": 4},
    "RetinexNet": {"channel": 4},
    "SNRAware": {"front_RBs": 1, "back_RBs": 1},
    "ZeroDCE": {"number_f": 4, "iterations": 3},
    "ZeroDCEPlusPlus": {"scale_factor": 3, "number_f": 4, "iterations": 8},
}
# One number an image; other networks give images.
LOGITS = {"DegradationClassifier": (2, 9), "SRGANDiscriminator": (2, 1), "VGGStyleDiscriminator": (2, 1)}
# Networks that take noise for noise: their attention, in which no token of it counts, would have no gradients.
SMOOTH = {"SNRAware"}
# Networks that draw noise where none is given.
DRAWS: set[str] = {"DiffIRS2"}
# Layers that a network only carries because its checkpoints have them.
IDLE = {"PromptIR": ("chnl_reduce", "reduce_noise_channel")}
# Networks that torch.compile takes seconds for, all in all: they are traced among the slow tests.
LONG_TO_TRACE = {
    "DCAE",
    "PromptIR",
    "Restormer",
    "DiffIRS1",
    "DiffIRS2",
    "SNRAware",
    "MPRNet",
    "DehazeFormer",
    "PaletteUNet",
    "GuidedUNet",
    "HAT",
    "SCUNet",
    "SR3UNet",
    "ConditionalUNet",
    "ConditionalNAFNet",
    "DMCNN",
    "RRDBNet",
    "UNetDiscriminatorSN",
    "VGGStyleDiscriminator",
    "StableSRAutoencoder",
    "StableSRGuidanceEncoder",
    "StableSRUNet",
    # Sisters of networks that are traced.
    "PlainNet",
    "Baseline",
    "BaselineLocal",
    "NAFNetLocal",
    "PReNet_r",
    "PRN",
    "PRN_r",
}
PARAMETERS = {  # one name of each published configuration
    "dehazeformer_t_indoor": 687_404,
    "dehazeformer_s_indoor": 1_284_884,
    "dehazeformer_b_indoor": 2_517_612,
    "dehazeformer_d": 4_983_068,
    "dehazeformer_w": 9_686_724,
    "dehazeformer_m_indoor": 4_635_952,
    "dehazeformer_l_indoor": 25_451_652,
    "dmcnn": 1_425_839,
    "dc_ae_f32c32_sana_1_0": 312_250_275,
    "dc_ae_f32c32_in_1_0": 323_356_460,
    "dc_ae_f32c32_mix_1_0": 323_356_460,
    "dc_ae_f64c128_in_1_0": 676_896_140,
    "dc_ae_f64c128_mix_1_0": 676_896_140,
    "dc_ae_f128c512_in_1_0": 1_120_682_252,
    "dc_ae_f128c512_mix_1_0": 1_120_682_252,
    "srcnn_x2": 57_281,
    "fsrcnn_x2": 12_809,
    "fsrcnn_x3": 12_809,
    "fsrcnn_x4": 12_809,
    "fsrcnn_s_x2": 4_086,
    "fsrcnn_s_x3": 4_086,
    "fsrcnn_s_x4": 4_086,
    "srresnet_x2": 1_399_637,
    "srresnet_x4": 1_547_350,
    "srresnet_x8": 1_695_063,
    "srgan_leftthomas_x2": 586_506,
    "srgan_leftthomas_x4": 734_219,
    "srgan_leftthomas_x8": 881_932,
    "srresnet_sgrvinod_x4": 1_549_462,
    "srgan_discriminator": 23_563_649,
    "msrresnet_x2": 1_369_859,
    "msrresnet_x3": 1_554_499,
    "msrresnet_x4": 1_517_571,
    "nafnet_sidd_width32": 29_159_715,
    "nafnet_sidd_width64": 115_982_915,
    "nafnet_gopro_width32": 17_111_907,
    "nafnet_gopro_width64": 67_888_835,
    "baseline_sidd_width32": 29_056_227,
    "baseline_sidd_width64": 194_419_779,
    "baseline_gopro_width32": 17_023_875,
    "baseline_gopro_width64": 112_036_291,
    "plainnet_width32": 25_082_147,
    "swinir_classical_x2": 11_752_487,
    "swinir_classical_x3": 11_937_127,
    "swinir_classical_x4": 11_900_199,
    "swinir_classical_x8": 12_047_911,
    "swinir_classical_div2k_x2": 11_752_487,
    "swinir_classical_div2k_x3": 11_937_127,
    "swinir_classical_div2k_x4": 11_900_199,
    "swinir_classical_div2k_x8": 12_047_911,
    "swinir_lightweight_x2": 910_152,
    "swinir_lightweight_x3": 918_267,
    "swinir_lightweight_x4": 929_628,
    "swinir_real_x2": 11_678_631,
    "swinir_real_x4": 11_715_559,
    "swinir_real_large_x4": 28_013_059,
    "swinir_gray_denoising_15": 11_497_681,
    "swinir_color_denoising_15": 11_504_163,
    "swinir_gray_jpeg_10": 11_485_585,
    "swinir_color_jpeg_10": 11_492_067,
    "hat_s_x2": 9_473_471,
    "hat_s_x3": 9_658_111,
    "hat_s_x4": 9_621_183,
    "hat_x2": 20_624_795,
    "hat_x3": 20_809_435,
    "hat_x4": 20_772_507,
    "hat_l_imagenet_x2": 40_698_863,
    "hat_l_imagenet_x3": 40_883_503,
    "hat_l_imagenet_x4": 40_846_575,
    "edsr_baseline_x2": 1_369_859,
    "edsr_baseline_x3": 1_554_499,
    "edsr_baseline_x4": 1_517_571,
    "edsr_x2": 40_729_603,
    "edsr_x3": 43_680_003,
    "edsr_x4": 43_089_923,
    "dncnn_15": 555_137,
    "dncnn_gray_blind": 665_921,
    "dncnn_color_blind": 668_227,
    "drunet_color": 32_640_960,
    "drunet_gray": 32_638_656,
    "scunet_color_15": 17_946_072,
    "scunet_gray_15": 17_943_768,
    "rcan_x2": 15_444_643,
    "rcan_x3": 15_629_283,
    "rcan_x4": 15_592_355,
    "rcan_x8": 15_740_067,
    "rlfn_x2": 526_856,
    "rlfn_x4": 543_740,
    "rlfn_s_x2": 454_620,
    "rlfn_s_x4": 470_208,
    "rlfn_ntire_x4": 317_218,
    "esrgan_x4": 16_697_987,
    "realesrgan_x2plus": 16_703_171,
    "realesrgan_x4plus_anime_6b": 4_467_779,
    "realesr_animevideov3": 621_424,
    "realesr_general_x4v3": 1_213_296,
    "realesrgan_x4plus_discriminator": 4_376_897,
    "degradation_classifier": 126_705,
    "esrgan_discriminator_128": 14_499_401,
    "esrgan_discriminator_256": 21_055_049,
    "mprnet_deraining": 3_637_249,
    "mprnet_deblurring": 20_127_073,
    "mprnet_denoising": 15_741_025,
    "prenet_rain100h": 168_963,
    "prenet_r_rain100h": 94_979,
    "prn_rain100h": 95_107,
    "prn_r_rain100h": 21_123,
    "irsde_derain_rain100h": 137_147_523,
    "irsde_deshadow": 135_346_755,
    "refusion": 76_608_387,
    "adm_imagenet64": 295_904_454,
    "adm_imagenet128": 421_529_606,
    "adm_imagenet256": 553_838_086,
    "adm_imagenet256_uncond": 552_814_086,
    "adm_imagenet512": 558_997_638,
    "adm_ffhq_10m": 93_563_910,
    "sana_600m_512": 591_747_872,
    "sana_600m_1024": 591_747_872,
    "sana_1600m_512": 1_604_462_752,
    "sana_1600m_1024": 1_604_462_752,
    "sana_1600m_2k": 1_604_462_752,
    "sana_1600m_4k": 1_604_462_752,
    "sana15_1600m_1024": 1_604_641_952,
    "sana15_4800m_1024": 4_721_825_952,
    "sr3_faces_16_128": 97_807_491,
    "sr3_faces_64_512": 155_334_339,
    "palette_inpainting_celebahq": 62_641_347,
    "restormer_deraining": 26_126_644,
    "restormer_dual_pixel_defocus": 26_132_548,
    "restormer_real_denoising": 26_111_668,
    "restormer_gaussian_gray_blind": 26_109_076,
    "promptir": 35_592_263,
    "diffir_gopro": 26_911_934,
    "diffir_real_x4": 24_971_206,
    "diffir_real_x2": 24_981_574,
    "diffir_real_x1": 25_023_046,
    "diffir_s1_gopro": 26_742_206,
    "diffir_s1_real_x4": 24_801_478,
    "diffir_s1_real_x2": 24_811_846,
    "diffir_s1_real_x1": 24_853_318,
    "kl_f8": 83_653_863,
    "stablesr_unet": 918_930_884,
    "stablesr_guidance_encoder": 52_494_080,
    "stablesr_autoencoder": 128_047_591,
    "retinexnet_lol": 555_205,
    "retinexnet_lol_decom": 207_748,
    "retinexnet_lol_relight": 347_457,
    "snr_aware_lolv1": 39_124_099,
    "zero_dce": 79_416,
    "zero_dce_pp": 10_561,
}

every_class = pytest.mark.parametrize("name", TINY)


def make(name):
    """A small network with random weights everywhere, in eval mode."""
    torch.manual_seed(0)
    net = getattr(archs, name)(**TINY[name]).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def ramps(*shape, **options):
    """Values that rise from pixel to pixel, from another start for every image."""
    rise = torch.arange(shape[0] * shape[-2] * shape[-1], **options).view(shape[0], *[1] * (len(shape) - 3), *shape[-2:])
    return (0.2 + 0.6 * rise / rise.numel()).expand(shape)


def inputs_for(net, size):
    make = ramps if type(net).__name__ in SMOOTH else torch.rand
    return example_inputs(net.spec, size, batch=2, make=make, dtype=next(net.parameters()).dtype)


def outputs_of(net, inputs):
    """All that the network gives, as a list."""
    result = net(*inputs)
    return list(result) if isinstance(result, list | tuple) else [result]


def expected_shape(net, inputs):
    height, width = inputs[0].shape[2:]
    spec = net.spec
    return LOGITS.get(type(net).__name__, (2, spec.out_channels, spec.scale * height, spec.scale * width))


def net_first(net, inputs):
    return outputs_of(net, inputs)[0]


def call_seeded(net, inputs):
    """The first output; networks that draw noise draw the same."""
    torch.manual_seed(1)
    return net_first(net, inputs)


def claims(state_dict):
    return [name for name, entry in ARCHITECTURES.items() if entry.infer_config(state_dict) is not None]


def test_every_class_is_in_the_table_and_here():
    classes = [cls.__name__ for entry in ARCHITECTURES.values() for cls in entry.classes]
    assert sorted(classes) == sorted(TINY)
    assert set(classes) <= set(archs.__all__)
    assert {cls for entry in ARCHITECTURES.values() for cls in entry.classes} >= {variant.cls for variant in VARIANTS.values()}
    assert len(VARIANTS) == sum(len(entry.variants) for entry in ARCHITECTURES.values()), "two files share a name"


def key(name):
    return VARIANTS[name].cls, str(VARIANTS[name].config)


def test_every_published_configuration_is_here():
    assert set(map(key, VARIANTS)) == set(map(key, PARAMETERS))


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_published_configuration_is_recognised_by_its_own_detector_alone(name):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    state = net.state_dict()
    (family,) = claims(state)
    assert variant.cls in ARCHITECTURES[family].classes
    told = recognize(state, arch=variant.cls.__name__)
    open_ = {*net.spec.unrecorded, *told.assumed, *told.missing}
    assert all(told.config.get(key, value) == value for key, value in variant.config.items() if key not in open_)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    assert set(variant.tasks) <= set(TASKS) and set(variant.tasks) <= set(net.spec.tasks)


@every_class
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (8, 9), (31, 33), (64, 16), (127, 1)])
def test_any_size_is_taken(name, size):
    net = make(name)
    inputs = inputs_for(net, size)
    with torch.inference_mode():
        output = outputs_of(net, inputs)[0]
    assert output.shape == expected_shape(net, inputs) and output.isfinite().all()


@every_class
def test_copies_and_pickles_give_the_same(name):
    net = make(name)
    inputs = inputs_for(net, (12, 10))
    with torch.inference_mode():
        expected = call_seeded(net, inputs)
        assert torch.equal(call_seeded(copy.deepcopy(net), inputs), expected)
        again = pickle.loads(pickle.dumps(net))
        assert torch.equal(call_seeded(again, inputs), expected) and again.spec == net.spec


@every_class
def test_a_file_gives_the_network_back(name, tmp_path):
    net = make(name)
    torch.save({"params_ema": net.state_dict()}, tmp_path / "weights.pth")
    # Sisters share their keys: the caller says which is meant, and what no weight tells.
    arguments = {key: value for key, value in TINY[name].items() if key in net.spec.unrecorded}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        loaded = load_model(tmp_path / "weights.pth", arch=name, **arguments)
    assert type(loaded) is type(net) and loaded.spec == net.spec
    inputs = inputs_for(net, (12, 10))
    with torch.inference_mode():
        assert torch.equal(call_seeded(loaded, inputs), call_seeded(net, inputs))


@every_class
def test_batches_are_treated_image_by_image(name):
    net = make(name).double()
    if name in DRAWS:
        pytest.skip("draws noise for the batch")
    inputs = inputs_for(net, (12, 10))
    with torch.inference_mode():
        together, alone = net_first(net, inputs), net_first(net, [x[1:] for x in inputs])
    torch.testing.assert_close(together[1:], alone)


@every_class
def test_every_parameter_gets_a_gradient(name):
    net = make(name)
    outputs = outputs_of(net, inputs_for(net, (32, 40)))
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    for key, parameter in net.named_parameters():
        if key.startswith(IDLE.get(name, ())):
            assert not parameter.requires_grad, key
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key


@every_class
def test_bfloat16_autocast_stays_finite(name):
    net = make(name)
    inputs = inputs_for(net, (17, 24))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert all(output.isfinite().all() for output in outputs_of(net, inputs))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG_TO_TRACE)) for name in TINY])
def test_compiles_in_one_graph(name):
    net = make(name)
    inputs = inputs_for(net, (16, 24))
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(call_seeded(compiled, inputs), call_seeded(net, inputs))


CONCATENATED = ("SR3UNet", "PaletteUNet")  # denoisers that take the degraded image as channels


@every_class
def test_restore_runs_restorers_and_refuses_others(name):
    net = make(name)
    image = torch.rand(net.spec.in_channels, 9, 11)
    latent = "text" in net.spec.inputs  # restores latents, in a LatentRestorer
    if ("condition" in net.spec.inputs and not latent) or name in CONCATENATED:
        image = torch.rand(net.spec.out_channels, 9, 11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # random weights leave [0, 1]
            assert restore(image, net, steps=2, seed=0, sampler="posterior").shape == image.shape
        return
    if net.spec.role != "restorer":
        with pytest.raises(ValueError, match=f"{name} restores no image by itself"):
            restore(image, net)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights leave [0, 1]
        restored = restore(image, net, seed=0)
    assert restored.shape[-2:] == (9 * net.spec.scale, 11 * net.spec.scale)


@every_class
@pytest.mark.parametrize("most", [20, pytest.param(10_000, marks=pytest.mark.slow)])
def test_hostile_shapes_do_not_break_a_detector(name, most):
    state = skeleton(getattr(archs, name), TINY[name]).state_dict()
    keys = random.Random(0).sample([*state], min(most, len(state)))
    for key in keys:
        value = state[key]
        for shape in ((), (0,) * value.ndim, (1,) * value.ndim, (2**40,) * min(value.ndim, 1), (3,) * (value.ndim + 1)):
            assert len(claims(state | {key: torch.empty(shape, device="meta")})) <= 1
    for key in keys:
        assert len(claims({other: value for other, value in state.items() if other != key})) <= 1
