"""Photographs for training and evaluation."""

from restoralib.data.photographs import random_patches, read_photographs

__all__ = ["random_patches", "read_photographs"]
