"""Classical methods, as callables that `restore()` and `evaluate()` take like models: what people use without a network.

They are what bundled models are measured against; each is a callable from (b, c, h, w) to the same, with a `spec`. Methods that
have to be told something of each pair, such as a kernel, have `for_pair`, which `evaluate` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from restoralib.evaluation.classical.bm3d import BM3D, noise_level
from restoralib.evaluation.classical.dark_channel import DarkChannelPrior, dark_channel, guided_filter
from restoralib.evaluation.classical.deconvolution import RichardsonLucy, UnsupervisedWiener, Wiener
from restoralib.evaluation.classical.equalisation import CLAHE, GammaCorrection, HistogramEqualisation
from restoralib.evaluation.classical.informed import Informed
from restoralib.evaluation.classical.median import MedianFilter

CLASSICAL: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bm3d": BM3D(),
    "bm3d_strong": BM3D(gain=2.0),
    "bm3d_told": BM3D(told=True),
    "median3": MedianFilter(3),
    "median5": MedianFilter(5),
    "dark_channel": DarkChannelPrior(),
    "histogram": HistogramEqualisation(),
    "clahe": CLAHE(),
    "gamma": GammaCorrection(1 / 2.2),
    "gamma_mean": GammaCorrection(),
    "unsupervised_wiener": UnsupervisedWiener(sigma=1.5),
    "unsupervised_wiener_told": UnsupervisedWiener(),
    "wiener_told": Wiener(),
    "wiener_weak_told": Wiener(balance=0.001),
    "richardson_lucy_told": RichardsonLucy(),
    "richardson_lucy_short_told": RichardsonLucy(steps=8),
}
"""Methods by the names that `evaluate` takes. Those that end in "told" are told the noise level or the kernel of each pair."""

__all__ = [
    "BM3D",
    "CLAHE",
    "CLASSICAL",
    "DarkChannelPrior",
    "GammaCorrection",
    "HistogramEqualisation",
    "Informed",
    "MedianFilter",
    "RichardsonLucy",
    "UnsupervisedWiener",
    "Wiener",
    "dark_channel",
    "guided_filter",
    "noise_level",
]
