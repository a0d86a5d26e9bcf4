"""SRResNet, the generator of SRGAN, and SRGAN's discriminator: super-resolution by 2, 4 or 8.

Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017,
arXiv:1609.04802. Keys are those of Lornatang/SRGAN-PyTorch; checkpoints of leftthomas/SRGAN and of sgrvinod's tutorial load
too, through `rename_keys`. Images are RGB in [0, 1] of any size; the discriminator takes 96x96 only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResidualConvBlock(nn.Module):
    """3x3 convolution, batch norm, PReLU, 3x3 convolution, batch norm, added to the input.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.rcb(x)
        return x + branch


class UpsampleBlock(nn.Module):
    """3x3 convolution, pixel shuffle by 2, PReLU.

    Shapes: (b, c, h, w) -> (b, c, 2h, 2w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        upsampled: Tensor = self.upsample_block(x)
        return upsampled


class SRResNet(nn.Module):
    """The generator: residual blocks on the small image, then one pixel shuffle for every factor of two.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result.
        channels: width of the net.
        num_rcb: residual blocks.
        upscale: 2, 4 or 8.
        bias: whether convolutions in front of batch norms have biases (leftthomas and sgrvinod: True).
        output: "clamp" to [0, 1], without a gradient where it clips; "tanh" for (tanh + 1) / 2 (leftthomas and sgrvinod).
        input_norm: "imagenet" subtracts ImageNet's mean and divides by its deviation (sgrvinod); for three channels.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, upscale h, upscale w).

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 64,
        num_rcb: int = 16,
        upscale: int = 4,
        bias: bool = False,
        output: Literal["clamp", "tanh"] = "clamp",
        input_norm: Literal["imagenet"] | None = None,
    ) -> None:
        super().__init__()
        if upscale not in (2, 4, 8):
            raise ValueError(f"upscale should be 2, 4 or 8, got {upscale}")
        if output not in ("clamp", "tanh"):
            raise ValueError(f'output should be "clamp" or "tanh", got {output!r}')
        if input_norm not in (None, "imagenet"):
            raise ValueError(f'input_norm should be "imagenet" or None, got {input_norm!r}')
        if input_norm and in_channels != 3:
            raise ValueError(f'input_norm="imagenet" needs 3 channels, got in_channels={in_channels}')
        self.output = output
        self.input_norm = input_norm
        self.spec = spec(SRResNet, in_channels=in_channels, out_channels=out_channels, num_rcb=num_rcb, upscale=upscale)
        self.conv1 = nn.Sequential(nn.Conv2d(in_channels, channels, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*(ResidualConvBlock(channels, bias) for _ in range(num_rcb)))
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=bias), nn.BatchNorm2d(channels))
        self.upsampling = nn.Sequential(*(UpsampleBlock(channels) for _ in range(upscale.bit_length() - 1)))
        self.conv3 = nn.Conv2d(channels, out_channels, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        if self.input_norm:
            mean, std = (image.new_tensor(numbers).view(3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
            image = (image - mean) / std
        shallow = self.conv1(image)
        x = shallow + self.conv2(self.trunk(shallow))
        restored: Tensor = self.conv3(self.upsampling(x))
        return restored.clamp(0, 1) if self.output == "clamp" else (restored.tanh() + 1) / 2


class SRGANDiscriminator(nn.Module):
    """Tells photographs from results of the generator, on crops of 96x96.

    Args:
        in_channels: channels of the image.
        out_channels: logits.
        channels: width of the first convolution; the last are eight times as wide.

    Shapes: (b, in_channels, 96, 96) -> (b, out_channels), logits.

    Raises:
        ValueError: `forward` got an image of another size.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 1, channels: int = 64) -> None:
        super().__init__()
        self.spec = spec(SRGANDiscriminator, in_channels=in_channels, out_channels=out_channels)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        width = channels
        for factor, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            conv = nn.Conv2d(width, factor * channels, 3, stride, padding=1, bias=False)
            width = factor * channels
            layers += [conv, nn.BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width * 6 * 6, 1024), nn.LeakyReLU(0.2, inplace=True), nn.Linear(1024, out_channels)
        )

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if (height, width) != self.spec.input_size:
            raise ValueError(f"SRGANDiscriminator takes images of 96x96 pixels, got {height}x{width}; crop or resize them")
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits


def spec(cls: type[nn.Module] = SRResNet, **config: Any) -> NetSpec:
    """What `cls(**config)` needs and does."""
    in_channels = config.get("in_channels", 3)
    if issubclass(cls, SRGANDiscriminator):
        return NetSpec(
            in_channels=in_channels,
            out_channels=config.get("out_channels", 1),
            halo=None,
            global_ops=("classifier",),
            input_size=(96, 96),
            role="discriminator",
        )
    upscale = config.get("upscale", 4)
    # From the last pixel of an enlarged one: the last convolution, then each stage's on pixels twice as large.
    reach = upscale - 1 + 4
    for _ in range(upscale.bit_length() - 1):
        reach = reach // 2 + 1
    return NetSpec(
        scale=upscale,
        in_channels=in_channels,
        out_channels=config.get("out_channels", 3),
        halo=4 + 2 * config.get("num_rcb", 16) + 1 + reach,
        tasks=(f"sr{upscale}",),
        unrecorded=("output", "input_norm"),
    )


def _variant(upscale: int, **config: Any) -> Variant:
    defaults = {"in_channels": 3, "out_channels": 3, "channels": 64, "num_rcb": 16, "upscale": upscale}
    return Variant(SRResNet, defaults | config, (f"sr{upscale}",))


_LEFTTHOMAS: dict[str, Any] = {"num_rcb": 5, "bias": True, "output": "tanh"}
_SGRVINOD: dict[str, Any] = {"bias": True, "output": "tanh", "input_norm": "imagenet"}

VARIANTS = {
    "srresnet_x2": _variant(2),
    "srresnet_x4": _variant(4),
    "srresnet_x8": _variant(8),
    "srgan_x2": _variant(2),
    "srgan_x4": _variant(4),
    "srgan_x8": _variant(8),
    "srgan_leftthomas_x2": _variant(2, **_LEFTTHOMAS),
    "srgan_leftthomas_x4": _variant(4, **_LEFTTHOMAS),
    "srgan_leftthomas_x8": _variant(8, **_LEFTTHOMAS),
    "srresnet_sgrvinod_x4": _variant(4, **_SGRVINOD),
    "srgan_sgrvinod_x4": _variant(4, **_SGRVINOD),
    "srgan_discriminator": Variant(SRGANDiscriminator, {"in_channels": 3, "out_channels": 1, "channels": 64}),
}

_NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"
_KEYS = re.compile(
    r"(conv1\.0|conv3|trunk\.\d+\.rcb\.[03]|conv2\.0|upsampling\.\d+\.upsample_block\.0)\.(weight|bias)"
    r"|(conv1\.1|trunk\.\d+\.rcb\.2|upsampling\.\d+\.upsample_block\.2)\.weight"
    rf"|(trunk\.\d+\.rcb\.[14]|conv2\.1)\.{_NORM}"
)
_DISCRIMINATOR_KEYS = re.compile(
    r"(features\.(0|2|5|8|11|14|17|20)|classifier\.[02])\.weight|(features\.0|classifier\.[02])\.bias"
    rf"|features\.(3|6|9|12|15|18|21)\.{_NORM}"
)

# The other published layouts: how their keys begin, and what that is called here.
_RULES: dict[str, dict[str, str | Callable[[re.Match[str]], str]]] = {
    "leftthomas": {
        r"block1\.": "conv1.",
        r"block([2-6])\.(conv1|bn1|prelu|conv2|bn2)\.": lambda match: (
            f"trunk.{int(match[1]) - 2}.rcb.{('conv1', 'bn1', 'prelu', 'conv2', 'bn2').index(match[2])}."
        ),
        r"block7\.": "conv2.",
        r"block8\.(\d+)\.conv\.": r"upsampling.\1.upsample_block.0.",
        r"block8\.(\d+)\.prelu\.": r"upsampling.\1.upsample_block.2.",
        r"block8\.\d+\.": "conv3.",
    },
    "sgrvinod": {
        r"conv_block([12])\.conv_block\.": r"conv\1.",
        r"residual_blocks\.(\d+)\.conv_block1\.conv_block\.": r"trunk.\1.rcb.",
        r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.0\.": r"trunk.\1.rcb.3.",
        r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.1\.": r"trunk.\1.rcb.4.",
        r"subpixel_convolutional_blocks\.(\d+)\.conv\.": r"upsampling.\1.upsample_block.0.",
        r"subpixel_convolutional_blocks\.(\d+)\.prelu\.": r"upsampling.\1.upsample_block.2.",
        r"conv_block3\.conv_block\.0\.": "conv3.",
    },
}


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of leftthomas/SRGAN and of sgrvinod's tutorial, its GAN's prefix `net.` too, as Lornatang's."""
    return _read_layout(state_dict)[1]


def _read_layout(state_dict: StateDict) -> tuple[str | None, StateDict]:
    """The name of the layout, None where it is this file's or unknown, and the dict with this file's keys."""
    bare = {re.sub(r"^((net|module|_orig_mod)\.)+", "", key): value for key, value in state_dict.items()}
    if all(_KEYS.fullmatch(key) for key in bare):
        return None, bare
    for layout, rules in _RULES.items():
        renamed = {}
        for key, value in bare.items():
            new = next((re.sub(old, new, key, count=1) for old, new in rules.items() if re.match(old, key)), "")
            if not _KEYS.fullmatch(new):
                break
            renamed[new] = value
        else:
            return layout, renamed
    return None, state_dict


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Everything from names and shapes; the activations from the layout, for which it wants the dict as it was published."""
    if "features.0.weight" in state_dict:
        return _infer_discriminator(state_dict)
    layout, state_dict = _read_layout(state_dict)
    if not all(_KEYS.fullmatch(key) for key in state_dict):
        return None

    def count(prefix: str) -> int:
        return len({key.split(".")[1] for key in state_dict if key.startswith(prefix)})

    stages = count("upsampling.")
    if not 1 <= stages <= 3:
        return None
    try:
        channels, in_channels = state_dict["conv1.0.weight"].shape[:2]
        out_channels = state_dict["conv3.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        return None
    config = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": channels,
        "num_rcb": count("trunk."),
        "upscale": 2**stages,
        "bias": "conv2.0.bias" in state_dict,
        "output": "tanh" if layout else "clamp",
        "input_norm": "imagenet" if layout == "sgrvinod" else None,
    }
    reason = "the layout is that of Lornatang/SRGAN-PyTorch"
    assumed = {} if layout else {"output": f"{reason}, which clamps", "input_norm": f"{reason}, which has none"}
    return Inferred(SRResNet, config, assumed)


def _infer_discriminator(state_dict: StateDict) -> Inferred | None:
    if not all(_DISCRIMINATOR_KEYS.fullmatch(key) for key in state_dict):
        return None
    try:
        channels, in_channels = state_dict["features.0.weight"].shape[:2]
        out_channels = state_dict["classifier.2.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        return None
    return Inferred(SRGANDiscriminator, {"in_channels": in_channels, "out_channels": out_channels, "channels": channels})
