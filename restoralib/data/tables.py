"""Sets that are tables: a CSV of paired paths and captions, and RealIR-Bench as parquet or arrow files."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from restoralib.data.entry import Entry, ImageFile, Problem
from restoralib.data.finding import Found, Request, faults, natural
from restoralib.data.reading import DatasetError, decode, named_as_image, nothing_there, read_pixels

# RealIR-Bench's nine degradations: what its words look like, and the task by the name that restore() takes.
_DEGRADATIONS: dict[str, tuple[str, str]] = {
    "blur": (r"((motion|defocus) )?(de)?blur(ry|red|ring)?", "deblur"),
    "compression": (r"compress(ion|ed)?|jpe?g|sr", "jpeg"),
    "flare": (r"(lens |de)?flares?", "deflare"),
    "moire": (r"(de)?moir[eé](ing)?", "demoire"),
    "haze": (r"(de)?haz(e|y|ing)|fog(gy)?", "dehaze"),
    "low light": (r"low ?light|lowlight|dark", "low_light"),
    "noise": (r"noise|noisy|denois(e|ing)", "denoise_real"),
    "rain": (r"(de)?rain(y|ing|drops?)?", "derain"),
    "reflection": (r"(de)?reflect(ion|ions)?", "dereflect"),
}


# CSV


def find_csv(request: Request) -> Found:
    """Pairs that a CSV file lists: columns degraded, clean, caption and others, which become facts.

    Paths are relative to the file. Either path may be empty. A pair is called after its clean file, or after both its folders
    and its file where several files have one name; a column `name` says it outright.
    """
    path = request.root
    if path.is_dir():
        tables = sorted(path.glob("*.csv"))
        if len(tables) != 1:
            raise DatasetError(f"{path} holds {len(tables)} CSV files; pass the file")
        path = tables[0]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error
    if not {"degraded", "clean"} & set(columns):
        raise DatasetError(f"{path} has the columns {', '.join(columns) or 'none'}; its first line should name degraded, clean")
    entries: list[Entry] = []
    problems: list[Problem] = []
    names = _row_names(rows)
    for line, (row, name) in enumerate(zip(rows, names, strict=True), 2):
        sides = [ImageFile(path.parent / row[side]) if row.get(side) else None for side in ("degraded", "clean")]
        if None in row or None in row.values():
            problems.append(Problem(path, f"has another number of fields in row {line} than columns"))
        if sides == [None, None]:
            problems.append(Problem(path, f"names no image in row {line}"))
            continue
        facts = {key: value for key, value in row.items() if value and key not in (None, "degraded", "clean", "name")}
        entries.append(Entry(name, sides[0], sides[1], facts))
    return Found(entries, problems + faults(entries), path.name)


def _row_names(rows: Sequence[Mapping[str, str]]) -> list[str]:
    paths = [Path(row.get("clean") or row.get("degraded") or f"row{number}") for number, row in enumerate(rows, 2)]
    plain = [row.get("name") or path.stem for row, path in zip(rows, paths, strict=True)]
    if len(set(plain)) < len(plain):
        plain = [row.get("name") or path.with_suffix("").as_posix() for row, path in zip(rows, paths, strict=True)]
    if len(set(plain)) < len(plain):  # Several degraded images of one clean one.
        others = [Path(row.get("degraded") or row.get("clean") or f"row{number}") for number, row in enumerate(rows, 2)]
        plain = [row.get("name") or path.with_suffix("").as_posix() for row, path in zip(rows, others, strict=True)]
    return plain


def write_csv(path: str | os.PathLike[str], pairs: Iterable[Mapping[str, str | os.PathLike[str]]]) -> None:
    """Write a table of pairs that the layout "csv" reads; paths are stored relative to it.

    Args:
        path: the CSV file.
        pairs: "degraded", "clean" and "caption" of each pair, and further columns, all alike.
    """
    path = Path(path)
    rows = [
        {
            column: Path(os.path.relpath(value, path.parent)).as_posix() if column in ("degraded", "clean") else str(value)
            for column, value in pair.items()
        }
        for pair in pairs
    ]
    columns = list(dict.fromkeys(["degraded", "clean", "caption", *(column for row in rows for column in row)]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


# Parquet and arrow


@dataclass(frozen=True)
class TableImage:
    """An encoded image in a row of a parquet or arrow file: bytes, or a path relative to the file."""

    path: Path
    group: int
    row: int
    column: str

    def read(self) -> Tensor:
        """The row's pixels; the group of rows stays in memory until another is read."""
        changed = self.path.stat().st_mtime_ns if self.path.exists() else 0
        value = _group(self.path, self.group, self.column, changed)[self.row].as_py()
        name = f"{self.path}, row {self.row} of group {self.group}"
        data, file = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if data:
            return decode(data, name)
        if not file:
            raise DatasetError(f"{name} holds no image")
        inside = (self.path.parent / file).resolve()
        if not inside.is_relative_to(self.path.parent.resolve()):
            raise DatasetError(f"{name} names {file}, which lies outside of the table's folder")
        return read_pixels(inside)

    def fault(self) -> str | None:
        """Whether the table is there."""
        return nothing_there(self.path)


def find_realir_bench(request: Request) -> Found:
    """RealIR-Bench: a parquet or arrow table of the Hub, or its photographs in a folder.

    The image column is found by its type. The degradation is taken from the first of: the column asked for; a column of text or
    class labels that consists of the nine degradations' words; the names of the files; a column of text in which one of the
    words stands. It becomes the facts "degradation" and "task".
    """
    root = request.root
    files = [root] if root.is_file() else sorted(file for kind in ("parquet", "arrow") for file in root.rglob(f"*.{kind}"))
    if not files:
        return _photographs(root)
    rows: list[tuple[Path, int, int, str, str, dict[str, Any]]] = []
    problems: list[Problem] = []
    labels: dict[str, list[str]] = {}
    for file in files:
        try:
            column, found, names = _scan(file, request.image_column)
        except (DatasetError, OSError, ValueError) as error:
            if isinstance(error, DatasetError) and not str(error).startswith(str(file)):
                raise
            problems.append(Problem(file, f"cannot be read as a table ({str(error).removeprefix(f'{file} ')})"))
            continue
        labels |= names
        rows += [(file, group, row, column, name, texts) for group, row, name, texts in found]
    if not rows:
        raise DatasetError(f"{root} holds no table with images: {'; '.join(map(str, problems)) or 'there is no row'}")
    facts = _facts([(name, texts) for *_, name, texts in rows], labels, request.task_column)
    taken: dict[str, int] = {}
    entries: list[Entry] = []
    for (file, group, row, column, name, _), known in zip(rows, facts, strict=True):
        stem = Path(name).with_suffix("").as_posix() if name else f"{len(entries):04d}"
        taken[stem] = taken.get(stem, 0) + 1
        stem = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
        entries.append(Entry(stem, TableImage(file, group, row, column), None, known))
    return Found(entries, problems, " ".join(sorted({f"*{file.suffix}" for file in files})))


def degradation_of(text: str, *, whole: bool = False) -> str | None:
    """Which of RealIR-Bench's nine degradations a text speaks of; None for none or several.

    Args:
        text: a label, a file name or a sentence.
        whole: the text has to consist of the word.
    """
    words = re.sub(r"[^a-zé]+", " ", text.lower()).strip()
    find = re.fullmatch if whole else re.search
    border = r"(?:{})" if whole else r"\b(?:{})\b"
    found = [name for name, (pattern, _) in _DEGRADATIONS.items() if find(border.format(pattern), words)]
    return found[0] if len(found) == 1 else None


def _photographs(root: Path) -> Found:
    files = sorted(filter(named_as_image, root.rglob("*")), key=lambda file: natural(file.as_posix()))
    if not files:
        raise DatasetError(f"{root} holds no .parquet or .arrow table and no image")
    entries: list[Entry] = []
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        entries.append(Entry(name, ImageFile(file), None, _task(degradation_of(name))))
    return Found(entries, faults(entries), "images in folders")


def _task(degradation: str | None) -> dict[str, str | float]:
    return {} if degradation is None else {"degradation": degradation, "task": _DEGRADATIONS[degradation][1]}


def _facts(
    rows: Sequence[tuple[str, Mapping[str, Any]]], labels: Mapping[str, Sequence[str]], column: str | None
) -> list[dict[str, str | float]]:
    """Each row's texts, and its degradation where it can be told."""
    texts = [
        {key: labels[key][value] if key in labels and isinstance(value, int) else value for key, value in row.items()}
        for _, row in rows
    ]
    names = list(texts[0])
    if column is not None:
        if column not in names:
            raise DatasetError(f"the table has no text column {column!r}, but {', '.join(names) or 'none'}")
        kinds = [degradation_of(str(row[column])) for row in texts]
    else:
        ways = [[degradation_of(str(row[name]), whole=True) for row in texts] for name in names]
        ways.append([degradation_of(file) for file, _ in rows])
        ways += [[degradation_of(str(row[name])) for row in texts] for name in names]
        kinds = next((way for way in ways if all(way)), [None] * len(rows))
    facts = []
    for row, kind in zip(texts, kinds, strict=True):
        own = {key: value for key, value in row.items() if isinstance(value, str | int | float)}
        if column is not None and kind is None:
            own["degradation"] = str(row[column])
        facts.append({**own, **_task(kind)})
    return facts


def _scan(file: Path, wanted: str | None) -> tuple[str, list[tuple[int, int, str, dict[str, Any]]], dict[str, list[str]]]:
    """The image column, each row's place, file name and small values, and the names of class labels."""
    import_pyarrow()
    import pyarrow as pa

    groups, schema = _groups(file)
    images = [field.name for field in schema if _is_image(field.type)]
    if wanted is not None and wanted not in schema.names:
        raise DatasetError(f"the table has no column {wanted!r}, but {', '.join(schema.names)}")
    if wanted is None and len(images) != 1:
        found = "no column of images" if not images else f"several columns of images, {', '.join(images)}"
        raise DatasetError(f"the table has {found}; name one of {', '.join(schema.names)} by image_column")
    column = wanted or images[0]
    small = [
        field.name
        for field in schema
        if field.name != column
        and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type) or pa.types.is_integer(field.type))
    ]
    rows = []
    for number, read in enumerate(groups):
        values = read(small)
        names = _file_names(read, column, schema)
        for row in range(len(names)):
            rows.append((number, row, names[row], {name: values[name][row].as_py() for name in small}))
    return column, rows, _class_labels(schema.metadata)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return "bytes" in {kind.field(place).name for place in range(kind.num_fields)}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_labels(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of class labels, which the Hub's tables keep beside their schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {key: value["names"] for key, value in features.items() if value.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def import_pyarrow() -> None:
    """Raise an ImportError that names the extra, where pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError('parquet and arrow tables need pyarrow; pip install "restoralib[data]"') from error


def _groups(file: Path) -> tuple[list[Any], Any]:
    """For each group of rows a function from column names to a table; and the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if reason := nothing_there(file):
        raise DatasetError(f"{file} {reason}")
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            schema, count = table.schema_arrow, table.num_row_groups

        def group_reader(number: int) -> Any:
            return lambda columns: _parquet_group(file, number, columns)

        return [group_reader(number) for number in range(count)], schema
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    return [table.select], table.schema


def _parquet_group(file: Path, number: int, columns: list[str]) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        return table.read_row_group(number, columns=columns)


def _file_names(read: Any, column: str, schema: Any) -> list[str]:
    """The file names that the image column knows; where it has none, empty ones."""
    import pyarrow as pa

    kind = schema.field(column).type
    if pa.types.is_struct(kind) and "path" in {kind.field(place).name for place in range(kind.num_fields)}:
        chosen = f"{column}.path"  # Parquet reads a field of a struct alone, and the pixels stay on disk.
        try:
            paths = read([chosen])[column]
        except KeyError:
            paths = read([column])[column]
        return [row.as_py().get("path") or "" if row.is_valid else "" for row in paths]
    return [""] * len(read([column]))


@lru_cache(maxsize=2)  # One group, and the one before it for pairs that lie across; the time of change is part of the key.
def _group(path: Path, number: int, column: str, changed: int) -> Any:
    import_pyarrow()
    try:
        groups, _ = _groups(path)
        return groups[number]([column])[column]
    except DatasetError:
        raise
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise DatasetError(f"{path} is damaged or not whole ({error})") from error
