"""What a project that builds on restoralib may look like: it imports `restoralib.blocks` and nothing else of it."""

from smallnet.net import SmallNet

__all__ = ["SmallNet"]
