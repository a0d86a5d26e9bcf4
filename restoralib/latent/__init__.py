"""Restoration in the latent space of an autoencoder."""

from restoralib.archs import DCAE

__all__ = ["DCAE"]
