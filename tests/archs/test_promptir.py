"""PromptIR: its structure, its prompts, and what tells it from Restormer."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib import restore
from restoralib.archs import restormer
from restoralib.archs.promptir import VARIANTS, PromptGenBlock, PromptIR, infer_config
from restoralib.checkpoints import load_model, skeleton

TINY = {"dim": 4, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 1, 2, 2)}
IDLE = [*(f"chnl_reduce{level}" for level in (1, 2, 3)), *(f"reduce_noise_channel_{level}" for level in (1, 2, 3))]


def on_meta(config) -> PromptIR:
    return skeleton(PromptIR, config)


def tiny(**config) -> PromptIR:
    torch.manual_seed(0)
    return PromptIR(**TINY, **config).eval()


def test_the_published_network():
    net = on_meta(VARIANTS["promptir"].config)
    assert sum(parameter.numel() for parameter in net.parameters()) == 35_592_263  # 35.59 M in the literature
    assert len(net.state_dict()) == 548
    assert infer_config(net.state_dict()).config == VARIANTS["promptir"].config
    assert net.spec.tasks == ("denoise", "derain", "dehaze")


def test_layers_lie_in_the_checkpoints_order():
    keys = dict.fromkeys(key.split(".")[0] for key in on_meta({}).state_dict())
    decoder = [
        *("up4_3", "reduce_chan_level3", "noise_level3", "reduce_noise_level3", "decoder_level3"),
        *("up3_2", "reduce_chan_level2", "noise_level2", "reduce_noise_level2", "decoder_level2"),
        *("up2_1", "noise_level1", "reduce_noise_level1", "decoder_level1", "refinement", "output"),
    ]
    encoder = [f"{name}{level}" for level in (1, 2, 3) for name in ("reduce_noise_channel_", "encoder_level", "down")]
    encoder = [f"{name[:-1]}{name[-1]}_{int(name[-1]) + 1}" if name.startswith("down") else name for name in encoder]
    prompts = [*(f"prompt{level}" for level in (1, 2, 3)), *(f"chnl_reduce{level}" for level in (1, 2, 3))]
    assert list(keys) == ["patch_embed", *prompts, *encoder, "latent", *decoder]


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("prompt1.prompt_param", (1, 5, 64, 64, 64)),
        ("prompt2.prompt_param", (1, 5, 128, 32, 32)),
        ("prompt3.prompt_param", (1, 5, 320, 16, 16)),
        ("prompt3.linear_layer.weight", (5, 384)),
        ("prompt3.conv3x3.weight", (320, 320, 3, 3)),
        ("noise_level3.attn.qkv.weight", (3 * 704, 704, 1, 1)),
        ("noise_level3.attn.temperature", (4, 1, 1)),
        ("noise_level1.attn.temperature", (4, 1, 1)),
        ("reduce_noise_level3.weight", (192, 704, 1, 1)),
        ("reduce_noise_level2.weight", (192, 320, 1, 1)),
        ("reduce_noise_level1.weight", (96, 160, 1, 1)),
        ("up4_3.body.0.weight", (384, 192, 3, 3)),
        ("reduce_chan_level3.weight", (192, 288, 1, 1)),
        ("chnl_reduce3.weight", (256, 320, 1, 1)),
        ("reduce_noise_channel_3.weight", (192, 448, 1, 1)),
    ],
)
def test_widths_are_the_checkpoints(key, shape):
    assert on_meta({}).state_dict()[key].shape == shape


@pytest.mark.parametrize("size", [(16, 16), (5, 7), (40, 9)])
def test_a_prompt_is_a_stretched_mixture(size):
    torch.manual_seed(0)
    block, x = PromptGenBlock(3, 16, 6).double(), torch.randn(2, 6, *size).double()
    for number, features in enumerate(x):
        weights = (block.linear_layer.weight @ features.mean((1, 2)) + block.linear_layer.bias).softmax(0)
        mixture = sum(weight * part for weight, part in zip(weights, block.prompt_param[0], strict=True))
        stretched = F.interpolate(mixture[None], size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(block(x)[number], F.conv2d(stretched, block.conv3x3.weight, padding=1)[0])


def test_a_prompt_joins_what_comes_from_below():
    net = tiny()
    given = {}
    for level in (3, 2, 1):
        prompt, block = net.get_submodule(f"prompt{level}"), net.get_submodule(f"noise_level{level}")
        prompt.register_forward_hook(lambda _, inputs, output, level=level: given.update({level: (inputs[0], output)}))
        block.register_forward_pre_hook(
            lambda _, inputs, level=level: torch.testing.assert_close(inputs[0], torch.cat(given[level], 1), rtol=0, atol=0)
        )
    net(torch.rand(1, 3, 16, 24))
    assert {level: x.shape for level, (x, _) in given.items()} == {3: (1, 32, 2, 3), 2: (1, 16, 4, 6), 1: (1, 8, 8, 12)}


def test_idle_layers_change_nothing_and_take_no_gradient():
    net, image = tiny(), torch.rand(1, 3, 16, 16)
    before = net(image)
    frozen = {name.rpartition(".")[0] for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == set(IDLE)
    for name in IDLE:
        nn.init.constant_(net.get_submodule(name).weight, 7.0)
    assert torch.equal(net(image), before)


def test_pads_by_reflection_to_multiples_of_8():
    net, image = tiny(), torch.rand(1, 3, 9, 17)
    padded = F.pad(image, (0, 7, 0, 7), mode="reflect")
    assert torch.equal(net(image), net(padded)[..., :9, :17])


@pytest.mark.slow
def test_exact_tiles_are_refused():
    with pytest.raises(ValueError, match="it looks at the whole image also when its reductions are known"):
        restore(torch.rand(3, 8, 64), tiny(), tile=32, exact=True)


def test_a_checkpoint_of_the_authors_training_is_read(tmp_path):
    net = tiny()
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1, "pytorch-lightning_version": "2.0"}, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")
    image = torch.rand(1, 3, 8, 8)
    assert isinstance(loaded, PromptIR) and torch.equal(loaded(image), net(image))


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        config = {
            "inp_channels": (channels := draw.choice([1, 3])),
            "out_channels": channels,
            "dim": draw.choice([8, 16, 48]),
            "num_blocks": tuple(draw.choice([1, 1, 1, 2]) for _ in range(4)),
            "num_refinement_blocks": draw.randint(0, 2),
            "heads": tuple(draw.choice([1, 2, 4, 8]) for _ in range(4)),
            "ffn_expansion_factor": draw.choice([1, 2, 2.2, 2.66, 3]),
            "bias": draw.random() < 0.5,
            "LayerNorm_type": draw.choice(["WithBias", "BiasFree"]),
            "decoder": True,
        }
        assert infer_config(on_meta(config).state_dict()).config == config


def test_restormer_and_promptir_are_told_apart():
    with torch.device("meta"):
        other = restormer.Restormer(**TINY)
    state = on_meta(TINY).state_dict()
    assert infer_config(other.state_dict()) is None and restormer.infer_config(state) is None
    assert infer_config(state | {"freq1.weight": torch.zeros(1)}) is None
    assert infer_config({key: value for key, value in state.items() if key != "prompt2.prompt_param"}) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"decoder": False}, "PromptIR needs its prompts, got decoder=False"),
        ({"inp_channels": 6}, "6 channels in and 3 out do not fit"),
        ({"LayerNorm_type": "withbias"}, "LayerNorm_type should be one of WithBias, BiasFree, got 'withbias'"),
        ({"dim": 7}, "dim should be even, got 7"),
        ({"num_blocks": (1, 1, 1)}, "four positive numbers"),
        ({"heads": (1, 1, 5, 1)}, "5 heads do not divide"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        PromptIR(**(TINY | config))
