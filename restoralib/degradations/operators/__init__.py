"""Linear operators: A with its adjoint, pseudo-inverse and, where it has one in closed form, its SVD."""

from restoralib.degradations.operators.blurring import (
    BlurDecimateOperator,
    BlurOperator,
    CircularBlurOperator,
    blur_operator,
)
from restoralib.degradations.operators.channels import ChannelOperator, GreyOperator
from restoralib.degradations.operators.composed import ComposedOperator
from restoralib.degradations.operators.dense import DenseOperator
from restoralib.degradations.operators.hadamard import HadamardOperator, walsh_hadamard
from restoralib.degradations.operators.operator import LinearOperator, SpectralOperator
from restoralib.degradations.operators.pixels import IdentityOperator, MaskOperator
from restoralib.degradations.operators.separable import (
    AveragePoolOperator,
    ResizeOperator,
    SeparableBlurOperator,
    SeparableOperator,
)

__all__ = [
    "AveragePoolOperator",
    "BlurDecimateOperator",
    "BlurOperator",
    "ChannelOperator",
    "CircularBlurOperator",
    "ComposedOperator",
    "DenseOperator",
    "GreyOperator",
    "HadamardOperator",
    "IdentityOperator",
    "LinearOperator",
    "MaskOperator",
    "ResizeOperator",
    "SeparableBlurOperator",
    "SeparableOperator",
    "SpectralOperator",
    "blur_operator",
    "walsh_hadamard",
]
