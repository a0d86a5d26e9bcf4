"""Weights from elsewhere: files by their addresses, and networks as folders of the Hugging Face Hub (extra `hub`)."""

from restoralib.hub.cards import model_card
from restoralib.hub.fetching import FetchError, Offline, cache_folder, fetch
from restoralib.hub.folders import CONFIG_SCHEMA, from_pretrained, push_to_hub, save_pretrained

__all__ = [
    "CONFIG_SCHEMA",
    "FetchError",
    "Offline",
    "cache_folder",
    "fetch",
    "from_pretrained",
    "model_card",
    "push_to_hub",
    "save_pretrained",
]
