"""Building blocks that networks share; each can be imported and used alone."""

from restoralib.blocks.channel_attention import SCA, CALayer, ChannelAttention
from restoralib.blocks.cross_attention import CrossAttention
from restoralib.blocks.degradation_prompt import DEGRADATIONS, DegradationPrompt, DegradationTable
from restoralib.blocks.embedding import FourierEmbedding, SinusoidalMLP, TimeEmbedding, sinusoidal_embedding, times_of
from restoralib.blocks.gates import SimpleGate
from restoralib.blocks.glumb_conv import Border, GLUMBConv
from restoralib.blocks.linear_attention import (
    LinearAttention,
    LinearState,
    read_linear_state,
    relu_linear_attention,
    update_linear_state,
)
from restoralib.blocks.mean_shift import MeanShift
from restoralib.blocks.modulation import FeatureModulation
from restoralib.blocks.naf import NAFBlock
from restoralib.blocks.norm import BiasFreeLayerNorm, GainLayerNorm, LayerNorm2d, RMSNorm, RMSNorm2d, WithBiasLayerNorm
from restoralib.blocks.norm_residual import NormResBlock
from restoralib.blocks.pixel_attention import AttentionBlock, one_head_attention, pixel_attention
from restoralib.blocks.reduction import ChannelGram, GlobalMean, GlobalReduction
from restoralib.blocks.resample import CornerDownsample, HalvingDownsample, NearestUpsample
from restoralib.blocks.residual import ResidualBlock
from restoralib.blocks.rotary import Rotation, rotary_angles, rotate
from restoralib.blocks.rrdb import RRDB, ResidualDenseBlock
from restoralib.blocks.softmax_linear_attention import SoftmaxLinearAttention
from restoralib.blocks.spatial_transformer import SpatialTransformer
from restoralib.blocks.spectral_norm import SpectralNormConv2d
from restoralib.blocks.timed_residual import TimedResBlock, TimedSequential
from restoralib.blocks.tlc import LocalMean
from restoralib.blocks.transposed_attention import DGFN, DMTA, GDFN, MDTA, RestormerBlock
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
    "DEGRADATIONS",
    "DGFN",
    "DMTA",
    "GDFN",
    "MDTA",
    "RRDB",
    "RSTB",
    "SCA",
    "STL",
    "AttentionBlock",
    "BiasFreeLayerNorm",
    "Border",
    "CALayer",
    "ChannelAttention",
    "ChannelGram",
    "CornerDownsample",
    "CrossAttention",
    "DegradationPrompt",
    "DegradationTable",
    "FeatureModulation",
    "FourierEmbedding",
    "GLUMBConv",
    "GainLayerNorm",
    "GlobalMean",
    "GlobalReduction",
    "HalvingDownsample",
    "LayerNorm2d",
    "LinearAttention",
    "LinearState",
    "LocalMean",
    "MeanShift",
    "NAFBlock",
    "NearestUpsample",
    "NormResBlock",
    "PixelShuffleDirect",
    "PixelShuffleUpsample",
    "PixelUnshuffleDownsample",
    "RMSNorm",
    "RMSNorm2d",
    "ResidualBlock",
    "ResidualDenseBlock",
    "RestormerBlock",
    "Rotation",
    "ShiftedWindows",
    "SimpleGate",
    "SinusoidalMLP",
    "SoftmaxLinearAttention",
    "SpatialTransformer",
    "SpectralNormConv2d",
    "TimeEmbedding",
    "TimedResBlock",
    "TimedSequential",
    "TransposedConvUpsample",
    "WindowAttention",
    "WithBiasLayerNorm",
    "one_head_attention",
    "pixel_attention",
    "read_linear_state",
    "relu_linear_attention",
    "rotary_angles",
    "rotate",
    "shifted_windows",
    "sinusoidal_embedding",
    "times_of",
    "update_linear_state",
    "window_partition",
    "window_reverse",
]
