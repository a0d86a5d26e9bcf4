"""Building blocks that networks share; each can be imported and used alone."""

from restoralib.blocks.channel_attention import SCA, ChannelAttention
from restoralib.blocks.embedding import FourierEmbedding, TimeEmbedding, sinusoidal_embedding
from restoralib.blocks.gates import SimpleGate
from restoralib.blocks.linear_attention import (
    LinearAttention,
    LinearState,
    read_linear_state,
    relu_linear_attention,
    update_linear_state,
)
from restoralib.blocks.naf import NAFBlock
from restoralib.blocks.norm import BiasFreeLayerNorm, LayerNorm2d, WithBiasLayerNorm
from restoralib.blocks.reduction import ChannelGram, GlobalMean, GlobalReduction
from restoralib.blocks.residual import ResidualBlock
from restoralib.blocks.tlc import LocalMean
from restoralib.blocks.transposed_attention import DGFN, DMTA, GDFN, MDTA
from restoralib.blocks.upsample import (
    PixelShuffleDirect,
    PixelShuffleUpsample,
    PixelUnshuffleDownsample,
    TransposedConvUpsample,
)
from restoralib.blocks.window_attention import (
    RSTB,
    STL,
    ShiftedWindows,
    WindowAttention,
    shifted_windows,
    window_partition,
    window_reverse,
)

__all__ = [
    "DGFN",
    "DMTA",
    "GDFN",
    "MDTA",
    "RSTB",
    "SCA",
    "STL",
    "BiasFreeLayerNorm",
    "ChannelAttention",
    "ChannelGram",
    "FourierEmbedding",
    "GlobalMean",
    "GlobalReduction",
    "LayerNorm2d",
    "LinearAttention",
    "LinearState",
    "LocalMean",
    "NAFBlock",
    "PixelShuffleDirect",
    "PixelShuffleUpsample",
    "PixelUnshuffleDownsample",
    "ResidualBlock",
    "ShiftedWindows",
    "SimpleGate",
    "TimeEmbedding",
    "TransposedConvUpsample",
    "WindowAttention",
    "WithBiasLayerNorm",
    "read_linear_state",
    "relu_linear_attention",
    "shifted_windows",
    "sinusoidal_embedding",
    "update_linear_state",
    "window_partition",
    "window_reverse",
]
