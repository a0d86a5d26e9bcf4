"""SRCNN: three convolutions that sharpen the luma of an image already enlarged.

Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016, arXiv:1501.00092; the 9-5-5 network. The
bare state dicts of the usual PyTorch port load unchanged. Works on Y of BT.601 (limited range, / 255) at any size.

One network serves every factor and does not enlarge: its `spec.scale` is 1. Enlarge the image first, as in training by bicubic
interpolation (`restoralib.ops.resize`), and restore the result: `restore(enlarged, net)` keeps its size and its chroma.
"""

from __future__ import annotations

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant


class SRCNN(nn.Module):
    """The 9-5-5 network with 64 and 32 features, with the keys of the port.

    Args:
        num_channels: channels in and out; 1 for the luma.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.
    """

    def __init__(self, num_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_channels, 64, 9, padding=4)
        self.conv2 = nn.Conv2d(64, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, num_channels, 5, padding=2)
        self.spec = spec(num_channels=num_channels)

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv1(image).relu()
        return self.conv3(self.conv2(features).relu())


VARIANTS: dict[str, Variant] = {f"srcnn_x{scale}": Variant(SRCNN, {"num_channels": 1}, (f"sr{scale}",)) for scale in (2, 3, 4)}


def spec(num_channels: int = 1) -> NetSpec:
    """What a caller must know of `SRCNN(num_channels)`."""
    return NetSpec(
        in_channels=num_channels,
        out_channels=num_channels,
        halo=4 + 2 + 2,
        tasks=("sr2", "sr3", "sr4") if num_channels == 1 else (),
        color="y" if num_channels == 1 else "rgb",
    )


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no SRCNN's, or one of other widths or kernels."""
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    channels = shapes.get("conv3.bias", ())
    expected: dict[str, tuple[int, ...]] = {
        "conv1.weight": (64, *channels, 9, 9),
        "conv1.bias": (64,),
        "conv2.weight": (32, 64, 5, 5),
        "conv2.bias": (32,),
        "conv3.weight": (*channels, 32, 5, 5),
        "conv3.bias": channels,
    }
    return Inferred(SRCNN, {"num_channels": channels[0]}) if channels and shapes == expected else None
