"""A module under a name that published keys have for it."""

from collections import OrderedDict

from torch import nn


def named(name: str, module: nn.Module) -> nn.Sequential:
    """The module alone in a sequence, where it has this name."""
    return nn.Sequential(OrderedDict({name: module}))
