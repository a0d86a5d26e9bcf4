"""Files into state dicts, without running code that a file holds."""

from __future__ import annotations

import difflib
import logging
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from restoralib.archs.spec import StateDict
from restoralib.checkpoints.errors import (
    AmbiguousCheckpoint,
    CheckpointError,
    DamagedCheckpoint,
    MissingCheckpoint,
    UnknownCheckpoint,
    UnsafeCheckpoint,
    clip,
    listing,
    naming,
)
from restoralib.checkpoints.recognition import without_prefix

logger = logging.getLogger(__name__)

# Where training scripts put the weights, in the order of preference: averaged ones first.
_WRAPPERS = (
    *("params_ema", "params-ema", "params", "ema_state_dict", "state_dict_ema", "model_ema", "ema", "state_dict"),
    *("model_state_dict", "model", "net", "netG", "net_g", "generator", "network", "weights"),
)

# How the names begin under which the state of a training is.
_TRAINING = ("optimizer", "param_groups", "scheduler")

_MAX_TENSORS = 100_000
_MAX_ELEMENTS = 2**31
_MAX_DEPTH = 8  # of dictionaries in dictionaries
_MAX_SHARING = 4  # bytes of all tensors for each byte of the file: tied weights share theirs
_SMALL = 2**20  # bytes that any file may claim

# What scripts save beside the weights. It is read as nothing: numpy's own code would trust a made dtype with addresses.
_IGNORED = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.ndarray", "numpy.dtype", "argparse.Namespace"),
    # By its name Lightning lists what it keeps of this callback, in the files of Stable Diffusion and of what is made from it.
    *(f"{package}.callbacks.model_checkpoint.ModelCheckpoint" for package in ("pytorch_lightning", "lightning.pytorch")),
)

# What the pickles of plain weights call.
_HARMLESS = re.compile(
    r"collections\.OrderedDict|_codecs\.encode|torch\.(_utils\._rebuild_\w+|\w*Storage|nn\.parameter\.Parameter|Size)"
)

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".tar")
_OTHER_FILES = {
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull`, or download the file itself",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "an image or a sound",
    b"\x1f\x8b": "a gzip archive; unpack it and load the file inside",
    b"7z\xbc\xaf": "a 7z archive; unpack it and load the file inside",
    b"Rar!": "a RAR archive; unpack it and load the file inside",
    b"\x89HDF": "an HDF5 file, which PyTorch does not write",
    b"\x93NUMPY": "a numpy array",
    b"<!doctype": "a web page; the link leads to a page about the file: download the file itself",
    b"<html": "a web page; the link leads to a page about the file: download the file itself",
}


def read_checkpoint(
    path: str | PathLike[str], *, key: str | None = None, prefix: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights of a file, unwrapped and without wrappers' prefixes, on the CPU, in the file's precision.

    Args:
        path: a `.safetensors`, `.pth`, `.pt` or `.ckpt` file.
        key: which entry of a `.pth` file holds the weights, where the preferred one is not wanted.
        prefix: what the names of the wanted weights begin with, where a file holds several networks under one name each, as
            those of latent diffusion do ("first_stage_model").

    Returns:
        The state dict, and the metadata of a `.safetensors` file.

    Raises:
        MissingCheckpoint: there is no such file.
        UnknownCheckpoint: it holds no weights.
        AmbiguousCheckpoint: it holds several sets of weights; the error names them.
        UnsafeCheckpoint: it holds code, or this version of torch cannot read it safely.
        DamagedCheckpoint: it is truncated, of another kind, or claims what it cannot hold.
        ValueError: it has no entry `key`, or no weights under `prefix`.
    """
    path = Path(path)
    with naming(path):
        if _is_safetensors(path):
            if key is not None:
                raise ValueError(f"{path} is a safetensors file, which has no entries; leave key={key!r} out")
            state_dict, metadata = _read_safetensors(path)
        else:
            state_dict, metadata = _unwrap(_read_pickle(path), key), {}
        _check_tensors(state_dict, path.stat().st_size)
        if prefix is not None:
            state_dict = _under(state_dict, prefix)
        return without_prefix(state_dict), metadata


def _is_safetensors(path: Path) -> bool:
    """True for safetensors, False for a pickle, by the first bytes, whatever the name says."""
    if path.is_dir():
        inside = [file.name for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES]
        raise UnknownCheckpoint(f"this is a folder; give a file of it: {listing(inside) or 'there is no checkpoint inside'}")
    if not path.is_file():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside)
        raise MissingCheckpoint(f"there is no such file{f'; did you mean {listing(near)}?' if near else ''}")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise DamagedCheckpoint("the file is empty; download it again")
    if head[8:9] == b"{":
        return True
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return False
    if head[257:262] == b"ustar":
        raise UnsafeCheckpoint("this is a tar archive; unpack it where you trust it, and load the file inside")
    start = head.lstrip().lower()
    found = next((what for magic, what in _OTHER_FILES.items() if start.startswith(magic.lower())), None)
    if found is None:
        text = head.decode("utf-8", errors="replace")
        found = f"text that begins {clip(text, 40)!r}" if "\0" not in text and "\ufffd" not in text else "of an unknown format"
        if _is_pickle(path):
            raise UnsafeCheckpoint(
                "this is a pickle of protocol 0 or 1, which PyTorch's restricted reader does not know; it is refused, for it "
                "could run code. If you trust it, open it where that does no harm, and save the weights with torch.save"
            )
    raise DamagedCheckpoint(f"this is no checkpoint but {found}")


def _is_pickle(path: Path) -> bool:
    """Whether a file without a pickle's header is one all the same: it is read, but never run."""
    with path.open("rb") as file:
        try:
            return any(opcode.name == "STOP" for opcode, *_ in pickletools.genops(file))
        except Exception:  # whatever text and noise lead to
            return False


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            _check_count(len(names))
            tensors, metadata = {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
        # safetensors' save_model writes a tensor that has several names once, and the other names into the metadata.
        shared = {name: tensors[kept] for name, kept in metadata.items() if kept in tensors}
        return shared | tensors, metadata
    except CheckpointError:
        raise
    except Exception as error:  # a parser on hostile bytes
        raise DamagedCheckpoint(f"no valid safetensors file ({clip(error)}); it may be truncated: download it again") from error


def _read_pickle(path: Path) -> Any:
    if torch.__version__ < "2.6":
        # CVE-2025-32434: older versions run code in spite of weights_only=True.
        raise UnsafeCheckpoint(f"torch {torch.__version__} cannot read this kind of file safely; upgrade it to 2.6 or later")
    if torch.__version__ < "2.10":
        # CVE-2026-24747 (GHSA-63cw-57p8-fm3p): a made file can corrupt memory.
        logger.warning("torch %s reads pickles less safely than 2.10 does; load only files that you trust", torch.__version__)
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        ignored = torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED])
        with path.open("rb") as file, ignored:  # given a path, torch goes by its extension
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a parser on hostile bytes
        refused = _refused_globals(path)
        if refused:
            raise UnsafeCheckpoint(_describe_refusal(refused)) from error
        reason = "its pickle is broken" if isinstance(error, pickle.UnpicklingError) else clip(str(error).partition("\n")[0])
        raise DamagedCheckpoint(f"torch cannot read it ({reason}); it may be truncated: download it again") from error


class _Ignored:
    """Stands in for a harmless object beside the weights, and keeps nothing of it."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _check_archive(path: Path) -> None:
    """Refuse zip archives that torch.save did not write, before torch opens them."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.rpartition("/")[2]: member for member in archive.infolist()}
        unpacked = sum(member.file_size for member in archive.infolist())
    if "data.pkl" not in members:
        raise DamagedCheckpoint("this is a zip archive, but none that torch.save wrote; unpack it and load the file inside")
    if "constants.pkl" in members:
        raise UnsafeCheckpoint(
            "this is a TorchScript file, which is a program. Where you trust it, save torch.jit.load(path).state_dict() instead"
        )
    if unpacked > path.stat().st_size:
        raise DamagedCheckpoint(f"it claims to unpack to {unpacked:,} bytes, more than it has; torch.save never compresses")


def _refused_globals(path: Path) -> list[str]:
    """The names of what a pickle wants to call and the restricted unpickler refuses."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # broken, or in the format before the zip archives
        names = [name for name in _pickled_globals(path) if not _HARMLESS.fullmatch(name)]
    return sorted(set(names).difference(_IGNORED))


def _pickled_globals(path: Path) -> list[str]:
    """The names of what the pickles at the beginning of a file call, as far as they can be read."""
    strings: list[str] = []
    names: list[str] = []
    with path.open("rb") as file:
        try:
            for _ in range(4):  # torch wrote its magic number, its version and the system before the object
                for opcode, argument, _ in pickletools.genops(file):
                    if opcode.name == "GLOBAL":
                        names.append(str(argument).replace(" ", "."))
                    elif opcode.name == "STACK_GLOBAL":
                        names.append(".".join(strings[-2:]))
                    elif isinstance(argument, str):
                        strings.append(argument)
        except Exception:  # the end of the pickles, or of what is valid
            return sorted(set(names))
    return sorted(set(names))


def _describe_refusal(refused: list[str]) -> str:
    what = "a whole pickled network" if any(name.startswith("torch.nn.modules.") for name in refused) else "more than weights"
    return (
        f"refused, for it holds {what}: to read it, Python would have to call {listing(refused)}, and that can run any code. "
        "Ask its author for a .safetensors file or a plain state dict. If you trust it, open it where that does no harm, with "
        "the code that it comes from, and save the weights alone: torch.save(net.state_dict(), 'weights.pth')"
    )


def _unwrap(content: Any, key: str | None) -> dict[str, Tensor]:
    """The state dict inside what a training script saved."""
    if key is not None:
        entries = content if isinstance(content, Mapping) else {}
        if key not in entries:
            raise ValueError(f"the file has no entry {key!r}; it has {listing(list(entries)) or 'none'}")
        content = entries[key]
    for _ in range(_MAX_DEPTH):
        if not isinstance(content, Mapping):
            raise UnknownCheckpoint(f"it should hold weights by their names, got a {type(content).__name__}")
        parts = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Mapping)}
        inner = [name for name in _WRAPPERS if name in parts and _holds_weights(parts[name])]
        tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if not inner and tensors:
            return tensors
        if not inner:
            networks = {name: part for name, part in parts.items() if not name.startswith(_TRAINING)}
            inner = [name for name, part in networks.items() if any(isinstance(value, Tensor) for value in part.values())]
            inner = inner or [name for name, part in networks.items() if _holds_weights(part)]
            if len(inner) > 1:
                raise AmbiguousCheckpoint(f"it holds several sets of weights; choose one: key={' or '.join(map(repr, inner))}")
        if not inner:
            raise UnknownCheckpoint(_describe_contents(list(map(str, content))))
        content = parts[inner[0]]
    raise DamagedCheckpoint("its dictionaries are nested too deep")


def _under(state_dict: StateDict, prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with a prefix, without it."""
    start = prefix.removesuffix(".") + "."
    part = {name.removeprefix(start): value for name, value in state_dict.items() if name.startswith(start)}
    if not part:
        beginnings = list(dict.fromkeys(name.partition(".")[0] for name in state_dict))
        raise ValueError(f"no weights are under {prefix!r}; names begin with {listing(beginnings)}")
    return part


def _holds_weights(content: Mapping[Any, Any]) -> bool:
    """Whether there are named tensors in a dictionary, or in dictionaries inside; also where these are too many levels."""
    level = [content]
    for _ in range(_MAX_DEPTH):
        entries = [value for part in level for name, value in part.items() if isinstance(name, str)]
        if any(isinstance(value, Tensor) for value in entries):
            return True
        # A dictionary that stands in many places is looked at once.
        level = list({id(value): value for value in entries if isinstance(value, Mapping)}.values())
    return bool(level)


def _describe_contents(names: list[str]) -> str:
    if any(name.startswith(_TRAINING) for name in names):
        return "it holds the state of an optimizer, to resume a training, and no network; load the network's own file"
    return f"it holds no weights, only {listing(names) or 'an empty dictionary'}"


def _check_count(count: int) -> None:
    if count > _MAX_TENSORS:
        raise DamagedCheckpoint(f"{count:,} tensors are more than any network has (limit {_MAX_TENSORS:,})")


def _check_tensors(state_dict: StateDict, size: int) -> None:
    """Refuse tensors that are not plain numbers which lie in the file."""
    _check_count(len(state_dict))
    for key, value in state_dict.items():
        name, shape = clip(key), tuple(value.shape)
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise DamagedCheckpoint(
                f"{name} should be a plain tensor, got {value.layout}, {value.dtype} on {value.device.type}"
            )
        if value.numel() == 0:
            raise DamagedCheckpoint(f"{name} has shape {shape}, which holds nothing")
        if value.numel() > _MAX_ELEMENTS or value.numel() * value.element_size() > size:
            raise DamagedCheckpoint(f"{name} claims shape {shape}, more than fits into the file's {size:,} bytes")
    total = sum(value.numel() * value.element_size() for value in state_dict.values())
    if total > _MAX_SHARING * size + _SMALL:
        raise DamagedCheckpoint(f"its tensors claim {total:,} bytes, of which its {size:,} bytes can hold only a part")
