"""Networks as folders that the Hugging Face Hub holds: `config.json`, `model.safetensors` and a page for people.

The config is data: it is checked against `CONFIG_SCHEMA`, and its class is looked up in the table of architectures and never
imported by a name. The weights are a `.safetensors` file, which holds no code.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restoralib.archs import NetSpec, find_architecture
from restoralib.checkpoints import (
    DamagedCheckpoint,
    UnknownCheckpoint,
    build,
    check_agreement,
    naming,
    read_checkpoint,
    recorded,
)
from restoralib.export import export_safetensors
from restoralib.hub.cards import MARK, model_card
from restoralib.hub.fetching import Offline, is_offline
from restoralib.hub.schema import violations

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, PAGE = "config.json", "model.safetensors", "README.md"
_LARGEST_CONFIG = 2**20  # bytes
_REPOSITORY = r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"

CONFIG_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A network of restoralib",
    "type": "object",
    "required": ["library_name", "format", "arch", "class", "config"],
    "additionalProperties": False,
    "properties": {
        "library_name": {"const": "restoralib"},
        "format": {"const": 1},
        "restoralib_version": {"type": "string", "maxLength": 100},
        "arch": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"},
        "class": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"},
        "config": {
            "type": "object",
            "additionalProperties": {"type": ["null", "boolean", "number", "string", "array"], "maxItems": 1000},
        },
        "scale": {"type": "integer", "minimum": 1},
        "tasks": {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 100},
    },
}
"""JSON Schema of `config.json`."""


def save_pretrained(
    net: nn.Module,
    folder: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    licence: str | None = None,
    half: bool = False,
    overwrite: bool = False,
    about: str = "",
    data: str = "",
    figures: Mapping[str, Mapping[str, float]] | None = None,
    terms: str = "",
) -> Path:
    """Write a network as a folder that `from_pretrained` reads and the Hub takes.

    Args:
        net: a network of `restoralib.archs`, or of an architecture that was registered.
        folder: where to; it is made.
        config: the constructor's arguments; None to take those with which `load_model` or `create_model` built the network, or
            those that its weights tell.
        name: of the repository, for the page; None for the folder's.
        licence: SPDX identifier of the weights' licence, for the page.
        half: store as float16, which halves the file; loading gives float32 again.
        overwrite: replace a network that is there. A page that somebody wrote is kept.
        about, data, figures, terms: for the page; see `model_card`.

    Returns:
        The folder.

    Raises:
        ValueError: the arguments are not told, or not the network's; or weights overflow in float16.
        TypeError: the network is of no architecture of the table.
        FileExistsError: a network is there, and `overwrite` is not given.
    """
    folder = Path(folder)
    if find_architecture(type(net)) is None:
        raise TypeError(
            f"{type(net).__name__} is in no architecture of restoralib; enter its own by restoralib.archs.register_arch first"
        )
    there = [file for file in (CONFIG, WEIGHTS) if (folder / file).exists()]
    if there and not overwrite:
        raise FileExistsError(f"{folder} has a {' and a '.join(there)} already; name another folder, or pass overwrite=True")
    folder.mkdir(parents=True, exist_ok=True)
    export_safetensors(net, folder / WEIGHTS, config=config, half=half, name=name, licence=licence)
    _, metadata = read_checkpoint(folder / WEIGHTS)
    spec: NetSpec = net.spec  # type: ignore[assignment]
    told = {
        "library_name": "restoralib",
        "format": 1,
        "restoralib_version": metadata["restoralib"],
        "arch": metadata["arch"],
        "class": metadata["class"],
        "config": json.loads(metadata["config"]),
        "scale": spec.scale,
        "tasks": list(spec.tasks),
    }
    found = violations(told, CONFIG_SCHEMA)
    if found:
        raise ValueError(f"the arguments cannot be written: {found[0]}; pass plain values as config")
    _write(folder / CONFIG, json.dumps(told, indent=2) + "\n")
    page = folder / PAGE
    if page.exists() and MARK not in page.read_text("utf-8", "replace"):
        logger.info("%s was written by somebody and stays", page)
    else:
        card = {"licence": licence, "about": about, "data": data, "figures": figures, "terms": terms}
        _write(page, model_card(net, name=name or folder.resolve().name, **card))  # type: ignore[arg-type]
    return folder


def from_pretrained(
    where: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> nn.Module:
    """A network from a folder that `save_pretrained` wrote, here or on the Hub.

    Args:
        where: a folder, which needs no network and no further package; or "org/name" on the Hub, on the host of HF_ENDPOINT.
        revision: of a repository on the Hub: a branch, a tag or a commit, which alone is sure to stay the same.
        device: where to put the network.
        cache_dir: for files of the Hub; None for `hub` in RESTORALIB_HOME where that is set, else the Hub's own cache.
        local_files_only: take only what is in the cache; so do HF_HUB_OFFLINE=1 and RESTORALIB_OFFLINE=1.
        token: for a private repository; None for the one that `hf auth login` keeps.

    Returns:
        The network in eval mode, float32.

    Raises:
        CheckpointError: the folder holds no network of restoralib, a damaged one, or one whose class is in no table here. It is
            a ValueError.
        FileNotFoundError: there is no such folder, repository or file.
        Offline: the network was not to be used, and the files are not in the cache.
        ImportError: the extra `hub` is not installed, and the name is no folder.
    """
    folder = Path(where)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a folder here, which has no revision {revision!r}; leave it out")
        paths = {file: folder / file for file in (CONFIG, WEIGHTS)}
        missing = [file for file, path in paths.items() if not path.is_file()]
        if missing:
            others = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}; it has {others}. A checkpoint by itself is for load_model"
            )
    elif re.fullmatch(_REPOSITORY, str(where)):
        options = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only, "token": token}
        paths = {file: _from_hub(str(where), file, **options) for file in (CONFIG, WEIGHTS)}  # type: ignore[arg-type]
    else:
        raise FileNotFoundError(f"{where} is no folder here and no name on the Hub such as 'org/name'")
    with naming(paths[CONFIG]):
        told = recorded(_read_config(paths[CONFIG]))
    assert told is not None  # the schema has all three keys
    state_dict, metadata = read_checkpoint(paths[WEIGHTS])
    with naming(paths[WEIGHTS]):
        inside = recorded(metadata)
        if inside is not None:
            if inside.cls is not told.cls:
                raise UnknownCheckpoint(f"it holds a {inside.cls.__name__}, and {CONFIG} says {told.cls.__name__}")
            try:
                check_agreement(inside, told.config)
            except ValueError as error:
                raise DamagedCheckpoint(f"it does not belong to {CONFIG}: {error}") from None
        return build(told.cls, told.config, state_dict).to(device)


def push_to_hub(
    net: nn.Module,
    repository: str,
    *,
    licence: str,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a network of restoralib",
    token: str | None = None,
    config: Mapping[str, Any] | None = None,
    half: bool = False,
    about: str = "",
    data: str = "",
    figures: Mapping[str, Mapping[str, float]] | None = None,
    terms: str = "",
) -> str:
    """Publish a network on the Hub, or on the host of HF_ENDPOINT.

    Args:
        net: as in `save_pretrained`.
        repository: "org/name"; it is made where it is not. A README.md that is there and was not made by restoralib is kept.
        licence: SPDX identifier of the weights' licence; people will go by it.
        private: whether a new repository is seen by its owners alone.
        revision: the branch; None for the main one.
        message: of the commit.
        token: None for the one that `hf auth login` keeps.
        config, half, about, data, figures, terms: as in `save_pretrained`.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the name is none of the Hub, the licence is empty, or as `save_pretrained` raises it.
        Offline: HF_HUB_OFFLINE or RESTORALIB_OFFLINE is set.
        ImportError: the extra `hub` is not installed.
    """
    if not re.fullmatch(_REPOSITORY, repository):
        raise ValueError(f"a repository on the Hub is named 'org/name', got {repository!r}")
    if not licence:
        raise ValueError("say under which licence the weights are published: licence='Apache-2.0'")
    if is_offline():
        raise Offline(f"{repository} cannot be pushed, for HF_HUB_OFFLINE or RESTORALIB_OFFLINE is set; unset it first")
    hub = _import_hub()
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    with tempfile.TemporaryDirectory() as folder:
        card = {"about": about, "data": data, "figures": figures, "terms": terms}
        save_pretrained(net, folder, config=config, name=repository, licence=licence, half=half, **card)  # type: ignore[arg-type]
        api.create_repo(repository, private=private, exist_ok=True)
        ignored = [PAGE] if _has_page_of_its_own(api, repository, revision) else []
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, revision=revision, ignore_patterns=ignored
        )
    return str(commit.commit_url)


def _has_page_of_its_own(api: Any, repository: str, revision: str | None) -> bool:
    """Whether a repository has a README.md that somebody wrote."""
    if not api.file_exists(repository, PAGE, revision=revision):
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(repository, PAGE, revision=revision, local_dir=folder)
        return MARK not in Path(path).read_text("utf-8", "replace")


def _import_hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise ImportError('the Hub needs huggingface_hub; pip install "restoralib[hub]"') from error
    return huggingface_hub


def _from_hub(
    repository: str,
    file: str,
    *,
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    token: str | None,
) -> Path:
    """A file of a repository, from the cache or fetched into it."""
    hub = _import_hub()
    home = os.environ.get("RESTORALIB_HOME")
    if cache_dir is None and home:
        cache_dir = Path(home) / "hub"
    if local_files_only or is_offline():
        found = hub.try_to_load_from_cache(repository, file, cache_dir=cache_dir, revision=revision)  # without a request
        if isinstance(found, str):
            return Path(found)
        why = "local_files_only=True" if local_files_only else "HF_HUB_OFFLINE or RESTORALIB_OFFLINE is set"
        raise Offline(f"{file} of {repository} is not in the cache, and {why}; load it once with a network")
    try:
        endpoint = os.environ.get("HF_ENDPOINT") or None
        path = hub.hf_hub_download(repository, file, revision=revision, cache_dir=cache_dir, endpoint=endpoint, token=token)
        return Path(path)
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise FileNotFoundError(f"the Hub has no {repository}{at}, or it is private and takes a token") from error
    except hub.errors.LocalEntryNotFoundError as error:
        raise FileNotFoundError(f"{file} of {repository} could not be fetched ({error}); is the Hub reachable?") from error
    except hub.errors.EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{repository} has no {file}, so it is no network that restoralib saved; fetch('hf:{repository}/FILE') brings a "
            "checkpoint of another kind for load_model"
        ) from error


def _read_config(path: Path) -> dict[str, str]:
    """What a config says, in the form of the metadata of our weights.

    Raises:
        DamagedCheckpoint: it is no JSON, or does not follow the schema.
    """
    if path.stat().st_size > _LARGEST_CONFIG:
        raise DamagedCheckpoint(f"it has more than {_LARGEST_CONFIG:,} bytes, far more than a network's arguments")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"it is no JSON ({error})") from None
    found = violations(config, CONFIG_SCHEMA)
    if found:
        raise DamagedCheckpoint(f"it does not describe a network of restoralib: {'; '.join(found[:3])}")
    return {"arch": config["arch"], "class": config["class"], "config": json.dumps(config["config"])}


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
