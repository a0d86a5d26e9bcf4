"""Large sets as shards: tar files of some thousand pairs each, by the package webdataset.

A folder of a million files is slow to list and slow to read in random order; shards are read from end to end.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from restoralib.data.benchmark import Pair
from restoralib.data.patches import check_size, pair_generator
from restoralib.data.reading import DatasetError, decode, nothing_there, to_image
from restoralib.data.training_pairs import pair_item
from restoralib.ops.levels import nearest_levels, round_to_levels

if TYPE_CHECKING:
    from torch.utils.data import IterableDataset


def write_shards(folder: str | os.PathLike[str], pairs: Iterable[Pair], *, per_shard: int = 1000) -> list[Path]:
    """Write pairs to shards, without loss: PNG of 8 bits where the pixels have such values, else of 16.

    Args:
        folder: where 000000.tar and so on go; it is made. Shards that are there are replaced.
        pairs: with both images, as a benchmark gives them.
        per_shard: number of pairs in each but the last.

    Returns:
        The files. Each is there whole or not at all.

    Raises:
        DatasetError: a pair lacks an image.
        ImportError: the extra `data` is not installed.
    """
    webdataset = _webdataset()
    if per_shard < 1:
        raise ValueError(f"per_shard should be at least 1, got {per_shard}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    writer: Any = None
    part = folder / ".part"
    try:
        for number, pair in enumerate(pairs):
            if pair.degraded is None or pair.clean is None:
                raise DatasetError(f"{pair.name} lacks an image, and shards hold pairs")
            writer = writer or webdataset.TarWriter(str(part), mtime=0)
            # The key is a number: webdataset cuts names at their first dot.
            writer.write(
                {
                    "__key__": f"{number:09d}",
                    "degraded.png": _png(pair.degraded),
                    "clean.png": _png(pair.clean),
                    "json": json.dumps({"name": pair.name, "facts": dict(pair.facts)}).encode(),
                }
            )
            if (number + 1) % per_shard == 0:
                writer = writer.close()
                written.append(_finished(part, len(written)))
        if writer:
            writer = writer.close()
            written.append(_finished(part, len(written)))
    finally:
        if writer:
            writer.close()
            part.unlink()
    return written


def read_shards(
    shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    size: int | None = None,
    shuffle: int = 0,
    seed: int = 0,
    turned: bool = True,
    keep_gray: bool = False,
) -> IterableDataset[dict[str, Any]]:
    """Random patches of the pairs in shards, for a DataLoader.

    Each process of a torchrun and each worker of a DataLoader reads shards of its own, so let there be at least as many shards
    as workers. Items are those of `StoredPairs`. A patch depends on the seed and on its pair alone; take another seed for each
    epoch.

    Args:
        shards: a folder of .tar files, or the files; each has to be on disk.
        size: side of the degraded patch; None for whole images.
        shuffle: number of pairs among which the next is drawn, the shards being shuffled, too; 0 keeps the order.
        seed: of patches and order.
        turned: with a size, flip and turn both sides alike.
        keep_gray: give grey images one channel instead of three equal ones.

    Raises:
        DatasetError: there is no shard, or one is missing or cut short.
        ValueError: the size is below 1.
        ImportError: the extra `data` is not installed.
    """
    check_size(size)
    webdataset = _webdataset()
    if isinstance(shards, str | os.PathLike) and Path(shards).is_dir():
        files = sorted(Path(shards).glob("*.tar"))
    else:
        files = [Path(shards)] if isinstance(shards, str | os.PathLike) else [Path(shard) for shard in shards]
    if not files:
        raise DatasetError(f"{shards} holds no .tar file; write_shards makes them")
    for file in files:
        # Only files: webdataset would run a name that begins with "pipe:" as a command.
        if reason := _fault(file):
            raise DatasetError(f"{file} {reason}")
    dataset = webdataset.WebDataset(
        [str(file.resolve()) for file in files],
        shardshuffle=len(files) if shuffle else False,
        detshuffle=bool(shuffle),
        seed=seed,
        nodesplitter=webdataset.split_by_node,
        empty_check=False,  # A worker without a shard has nothing to do.
        handler=_name_the_shard,
    )
    if shuffle:
        dataset = dataset.shuffle(shuffle, rng=random.Random(seed))
    return dataset.map(partial(_item, size=size, seed=seed, turned=turned, keep_gray=keep_gray))  # type: ignore[no-any-return]


def _item(sample: dict[str, Any], *, size: int | None, seed: int, turned: bool, keep_gray: bool) -> dict[str, Any]:
    place = f"{Path(sample['__url__']).name}/{sample['__key__']}"
    try:
        about = json.loads(sample["json"])
        degraded, clean = (
            to_image(decode(sample[f"{side}.png"], f"{side}.png of {place}"), keep_gray=keep_gray)
            for side in ("degraded", "clean")
        )
    except KeyError as error:
        raise DatasetError(f"{place} has no {error}; write_shards writes degraded.png, clean.png and json") from error
    generator = pair_generator(seed, sample["__key__"])
    return pair_item(Pair(about["name"], degraded, clean, about["facts"]), size, generator, turned=turned and size is not None)


def _fault(file: Path) -> str | None:
    """Why a shard cannot be read. A tar file that is cut short between two images would end without a word."""
    if reason := nothing_there(file):
        return reason
    size = file.stat().st_size
    with file.open("rb") as opened:
        opened.seek(max(0, size - 1024))  # Two blocks of zeros end a tar file.
        return None if size % 512 == 0 and opened.read() == bytes(1024) else f"is no tar file, or cut short ({size} bytes)"


def _name_the_shard(error: Exception) -> bool:
    """The handler of webdataset: errors go on, as ours."""
    if isinstance(error, DatasetError):
        raise error
    raise DatasetError(f"a shard is damaged or not whole: {' '.join(map(str, error.args))}") from error


def _finished(part: Path, number: int) -> Path:
    return part.replace(part.with_name(f"{number:06d}.tar"))


def _png(image: Tensor) -> bytes:
    """8 bits where nothing is lost by them, else 16."""
    image = image.detach().cpu().clamp(0, 1)
    if torch.equal(round_to_levels(image), image):
        array = nearest_levels(image).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "PNG", compress_level=1)
        return file.getvalue()
    import imagecodecs

    deep = nearest_levels(image.double(), 65535).permute(1, 2, 0).contiguous().numpy().astype(np.uint16)
    return bytes(imagecodecs.png_encode(deep[..., 0] if deep.shape[2] == 1 else deep))


def _webdataset() -> Any:
    try:
        import webdataset
    except ModuleNotFoundError as error:
        raise ImportError('shards need webdataset; pip install "restoralib[data]"') from error
    return webdataset
