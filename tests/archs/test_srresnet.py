"""SRResNet and SRGAN's discriminator; tests/test_goldens_archs.py holds them against the published implementations."""

import random
from functools import partial

import pytest
import torch
from halo import measured_halo
from torch import nn

from restoralib.archs.srresnet import VARIANTS, SRGANDiscriminator, SRResNet, infer_config, rename_keys

TINY = {"channels": 4, "num_rcb": 2}
LORNATANG = {"output": "clamp", "input_norm": None}
LEFTTHOMAS = {"num_rcb": 5, "bias": True, "output": "tanh", "input_norm": None}
SGRVINOD = {"bias": True, "output": "tanh", "input_norm": "imagenet"}
PARAMETERS = {
    "srresnet_x4": 1_547_350,
    "srgan_x4": 1_547_350,
    "srgan_leftthomas_x4": 734_219,
    "srresnet_sgrvinod_x4": 1_549_462,
    "srgan_sgrvinod_x4": 1_549_462,
    "srgan_discriminator": 23_563_649,
}


def on_meta(cls, **config):
    with torch.device("meta"):
        return cls(**config)


def leftthomas_keys(state_dict):
    """The layout of leftthomas/SRGAN, from the one of SRResNet with five blocks."""
    parts = {"0": "conv1", "1": "bn1", "2": "prelu", "3": "conv2", "4": "bn2"}
    stages = len({key.split(".")[1] for key in state_dict if key.startswith("upsampling.")})
    renamed = {}
    for key, value in state_dict.items():
        head, *path = key.split(".")
        if head == "trunk":
            path = [f"block{int(path[0]) + 2}", parts[path[2]], *path[3:]]
        elif head == "upsampling":
            path = ["block8", path[0], {"0": "conv", "2": "prelu"}[path[2]], *path[3:]]
        else:
            path = [*{"conv1": ["block1"], "conv2": ["block7"], "conv3": ["block8", str(stages)]}[head], *path]
        renamed[".".join(path)] = value
    return renamed


def sgrvinod_keys(state_dict, prefix=""):
    """The layout of sgrvinod's tutorial."""
    parts = {"0": "conv_block1.conv_block.0", "1": "conv_block1.conv_block.1", "2": "conv_block1.conv_block.2"}
    parts |= {"3": "conv_block2.conv_block.0", "4": "conv_block2.conv_block.1"}
    renamed = {}
    for key, value in state_dict.items():
        head, *path = key.split(".")
        if head == "trunk":
            path = ["residual_blocks", path[0], parts[path[2]], *path[3:]]
        elif head == "upsampling":
            path = ["subpixel_convolutional_blocks", path[0], {"0": "conv", "2": "prelu"}[path[2]], *path[3:]]
        else:
            path = [f"conv_block{head[-1]}", "conv_block", *(["0"] if head == "conv3" else []), *path]
        renamed[prefix + ".".join(path)] = value
    return renamed


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(variant.cls, **variant.config)
    if name in PARAMETERS:
        assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    inferred = infer_config(net.state_dict())
    traceless = net.spec.unrecorded
    assert inferred.cls is variant.cls and tuple(inferred.assumed) == traceless and not inferred.missing
    assert all(inferred.config[key] == value for key, value in variant.config.items() if key not in traceless)
    assert net.spec.tasks == variant.tasks


LAYOUTS = {
    "lornatang": (lambda state_dict: {f"_orig_mod.{key}": state_dict[key] for key in state_dict}, LORNATANG),
    "leftthomas": (leftthomas_keys, LEFTTHOMAS),
    "sgrvinod": (sgrvinod_keys, SGRVINOD),
    "sgrvinod_gan": (partial(sgrvinod_keys, prefix="net."), SGRVINOD),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_configurations_come_back(layout):
    draw, (published_keys, traits) = random.Random(0), LAYOUTS[layout]
    for _ in range(50):
        config = {
            "in_channels": 3 if traits["input_norm"] else draw.randint(1, 6),
            "out_channels": draw.randint(1, 6),
            "channels": draw.randint(1, 32),
            "num_rcb": draw.randint(0, 5),
            "upscale": draw.choice([2, 4, 8]),
            "bias": draw.random() < 0.5,
            **traits,
        }
        state_dict = on_meta(SRResNet, **config).state_dict()
        published = published_keys(state_dict)
        inferred = infer_config(published)
        assert inferred.cls is SRResNet and inferred.config == config
        assert set(inferred.assumed) == ({"output", "input_norm"} if layout == "lornatang" else set())
        assert list(rename_keys(published)) == list(state_dict)


@pytest.mark.parametrize("out_channels", [1, 2])
@pytest.mark.parametrize("channels", [2, 5])
def test_a_discriminator_is_told_from_a_generator(out_channels, channels):
    config = {"in_channels": 3, "out_channels": out_channels, "channels": channels}
    inferred = infer_config(on_meta(SRGANDiscriminator, **config).state_dict())
    assert inferred.cls is SRGANDiscriminator and inferred.config == config
    assert rename_keys(state := on_meta(SRGANDiscriminator).state_dict()) is state


@pytest.mark.parametrize("upscale", [2, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
def test_any_size_is_enlarged(size, upscale):
    output = SRResNet(**TINY, upscale=upscale).eval()(torch.rand(1, 3, size, 5))
    assert output.shape == (1, 3, upscale * size, upscale * 5) and output.isfinite().all()


@pytest.mark.parametrize("config", [{}, {"bias": True, "output": "tanh"}, SGRVINOD])
def test_results_are_images(config):
    net = SRResNet(**TINY, **config)
    nn.init.normal_(net.conv3.weight)
    output = net(torch.rand(2, 3, 9, 7))
    assert output.amin() >= 0 and output.amax() <= 1 and output.std() > 0.1


def test_sgrvinods_input_norm_is_imagenets():
    plain, norm = (SRResNet(**TINY, output="tanh", input_norm=name).eval() for name in (None, "imagenet"))
    norm.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 5, 6)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(norm(image), plain((image - mean.view(3, 1, 1)) / std.view(3, 1, 1)))


@pytest.mark.parametrize("config", [{}, SGRVINOD])
def test_every_parameter_gets_a_gradient(config):
    net = SRResNet(**TINY, **config).eval()
    nn.init.constant_(net.conv3.bias, 0.5)  # away from the clamp
    net(torch.rand(2, 3, 9, 7)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


class Unclamped(nn.Module):
    """A generator that ends with its last convolution: what follows it has no gradient where it saturates."""

    def __init__(self, net):
        super().__init__()
        self.net, self.spec = net.eval(), net.spec
        net.conv3.register_forward_hook(lambda layer, inputs, output: setattr(self, "output", output))

    def forward(self, image):
        self.net(image)
        return self.output


@pytest.mark.parametrize("upscale", [2, 4, 8])
@pytest.mark.parametrize("num_rcb", [0, 2])
def test_halo_is_exact(upscale, num_rcb):
    net = SRResNet(1, 1, channels=1, num_rcb=num_rcb, upscale=upscale)
    assert measured_halo(Unclamped(net)) == net.spec.halo


@pytest.mark.slow
def test_the_deeper_kind_compiles_in_one_graph():
    net, image = SRResNet(**TINY, upscale=2, **SGRVINOD).eval(), torch.rand(1, 3, 9, 7)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(net, backend="eager", fullgraph=True)(image), net(image))


@pytest.mark.parametrize("config", [{}, SGRVINOD])
def test_runs_in_bfloat16(config):
    net, image = SRResNet(**TINY, upscale=2, **config).eval(), torch.rand(1, 3, 9, 7)
    expected = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(image).float(), expected, atol=0.03, rtol=0.05)


def test_the_discriminator_gives_a_logit_and_gradients():
    net = SRGANDiscriminator(channels=2)
    logits = net(torch.rand(3, 3, 96, 96))
    assert logits.shape == (3, 1) and net.spec.input_size == (96, 96)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("size", [(1, 1), (96, 95), (128, 128)])
def test_the_discriminator_names_its_size(size):
    with pytest.raises(ValueError, match=f"takes images of 96x96 pixels, got {size[0]}x{size[1]}"):
        SRGANDiscriminator(channels=1)(torch.rand(1, 3, *size))


@pytest.mark.parametrize(
    "change",
    [
        {"trunk.0.rcb.5.weight": torch.zeros(1)},
        {"conv4.weight": torch.zeros(1)},
        {"conv1.0.weight": torch.zeros(())},
        {f"upsampling.{stage}.upsample_block.2.weight": torch.zeros(1) for stage in range(4)},
        {"body.0.conv1.weight": torch.zeros(1)},  # MSRResNet
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state_dict = SRResNet(**TINY).state_dict() | change
    assert infer_config(state_dict) is None


def test_other_discriminators_are_not_taken_for_it():
    state_dict = on_meta(SRGANDiscriminator).state_dict() | {"classifier.6.weight": torch.zeros(1)}  # torchvision's VGG
    assert infer_config(state_dict) is None and infer_config({}) is None
    assert rename_keys(state_dict) is state_dict


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upscale": 3}, "upscale should be 2, 4 or 8, got 3"),
        ({"output": "sigmoid"}, 'output should be "clamp" or "tanh"'),
        ({"input_norm": "mean"}, 'input_norm should be "imagenet" or None'),
        ({"in_channels": 1, "input_norm": "imagenet"}, "needs 3 channels, got in_channels=1"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SRResNet(**arguments)
