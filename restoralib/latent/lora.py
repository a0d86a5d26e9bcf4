"""Low-rank adaptation (LoRA, arXiv:2106.09685): linear layers learn the difference B A of rank r beside their frozen weight."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

SELF_ATTENTION = r"transformer_blocks\.\d+\.attn1\.to_(q|k|v|out\.0)"
"""Names of SANA's layers in self-attention, for `add_lora`."""
ATTENTION = r"transformer_blocks\.\d+\.attn[12]\.to_(q|k|v|out\.0)"
"""Names of SANA's layers in both attentions."""


class LoRALinear(nn.Module):
    """W x + b + (alpha / r) B A x, of which A and B alone learn. B starts at zero: a new layer gives what the old one gave.

    Args:
        base: the layer, which is frozen.
        rank: r.
        alpha: scale of what is learned; None for r.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float | None = None) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank should be at least 1, got {rank}")
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.base = base.requires_grad_(False)
        self.scale = (rank if alpha is None else alpha) / rank
        self.down = nn.Linear(base.in_features, rank, bias=False, **like)
        self.up = nn.Linear(rank, base.out_features, bias=False, **like)
        nn.init.normal_(self.down.weight, std=1 / rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer with what was learned added to its weight."""
        self.base.weight += self.scale * (self.up.weight @ self.down.weight)
        return self.base


def add_lora(
    net: nn.Module, rank: int = 32, names: str = SELF_ATTENTION, *, alpha: float | None = None, beside: tuple[str, ...] = ()
) -> int:
    """Replace linear layers of a network by `LoRALinear` and freeze everything else.

    Args:
        net: changed in place.
        rank: of the difference.
        names: a regular expression for whole names of layers.
        alpha: scale of what is learned; None for the rank.
        beside: names of submodules that learn whole, such as "proj".

    Returns:
        How many weights the new layers have.

    Raises:
        ValueError: no linear layer has such a name.
    """
    found = [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear) and re.fullmatch(names, name)]
    if not found:
        raise ValueError(f"no linear layer has a name like {names}")
    net.requires_grad_(False)
    for name in beside:
        net.get_submodule(name).requires_grad_(True)
    for name in found:
        layer = net.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        _replace(net, name, LoRALinear(layer, rank, alpha))
    new = [layer for layer in net.modules() if isinstance(layer, LoRALinear)]
    return sum(weight.numel() for layer in new for weight in (layer.down.weight, layer.up.weight))


def merge_lora(net: nn.Module) -> nn.Module:
    """Put ordinary layers back, with what was learned in their weights; all of the network learns again. In place."""
    for name, layer in [*net.named_modules()]:
        if isinstance(layer, LoRALinear):
            _replace(net, name, layer.merged())
    return net.requires_grad_(True)


def _replace(net: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, layer)
