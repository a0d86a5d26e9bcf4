"""A restored film in pieces beside its target, so that a run that was stopped goes on where it was.

The folder `.NAME.restoralib` holds `job.json`, which tells what the pieces were made of, and a file of packets for each piece.
Every file is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from restoralib.video.encoding import Encoded, Plan
from restoralib.video.errors import VideoError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Pieces:
    """The folder of pieces of one target.

    Args:
        target: the file that the pieces will make.
    """

    def __init__(self, target: Path) -> None:
        self.folder = target.with_name(f".{target.name}.restoralib")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made where it is not; the system lets go of it when the process ends, however it does.

        Raises:
            VideoError: another process holds it.
        """
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise VideoError(
                        f"another process writes to {self.folder}; wait for it, or choose another target"
                    ) from None
            yield

    def begin(self, job: Mapping[str, Any]) -> int:
        """Keep the pieces that were made by the same job, and drop others.

        Args:
            job: plain values that tell all on which the result depends.

        Returns:
            How many pieces there are.
        """
        path = self.folder / "job.json"
        text = json.dumps(job, sort_keys=True, indent=1)
        if not path.exists() or path.read_text("utf-8") != text:
            self.clear()
            _write(path, text.encode())
        count = 0
        while self._is_whole(count):
            count += 1
        for file in self.folder.glob("*.packets"):
            if int(file.stem) >= count:
                file.unlink()
        return count

    def clear(self) -> None:
        """Drop all but the lock."""
        for file in self.folder.iterdir():
            if file.name != "lock":
                file.unlink()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def put_plan(self, plan: Plan) -> None:
        """Keep what the encoder is opened with."""
        _write(self.folder / "plan.json", json.dumps(asdict(plan)).encode())

    def plan(self) -> Plan:
        """What the encoder was opened with."""
        return Plan(**json.loads((self.folder / "plan.json").read_text("utf-8")))

    def put(self, number: int, packets: Sequence[Encoded], durations: Mapping[int, int], state: Mapping[str, Tensor]) -> None:
        """Keep a piece.

        Args:
            number: of the piece, from 0.
            packets: in the order of decoding.
            durations: time stamp -> how long the frame is shown.
            state: what the next piece has to know of this one.
        """
        if state:
            _save(self.folder / f"{number:06}.state", {name: value.contiguous().cpu() for name, value in state.items()}, {})
        order = sorted(range(len(packets)), key=lambda index: packets[index].pts)
        rank = {index: place for place, index in enumerate(order)}
        delay = max((index - place for index, place in rank.items()), default=0)
        data = np.frombuffer(b"".join(packet.data for packet in packets), np.uint8).copy()
        arrays = {
            "data": torch.from_numpy(data),
            "size": torch.tensor([len(packet.data) for packet in packets]),
            "pts": torch.tensor([packet.pts for packet in packets]),
            "keyframe": torch.tensor([packet.keyframe for packet in packets]),
            "duration": torch.tensor([durations.get(packet.pts, 0) for packet in packets]),
        }
        _save(self._path(number), arrays, {"delay": str(delay), "frames": str(len(durations))})
        for file in self.folder.glob("*.state"):
            if int(file.stem) < number:
                file.unlink()

    def frames(self, count: int) -> int:
        """Frames in the first pieces."""
        return sum(int(self._about(number)["frames"]) for number in range(count))

    def state(self, number: int) -> dict[str, Tensor]:
        """What was kept beside a piece."""
        path = self.folder / f"{number:06}.state"
        if not path.exists():
            return {}
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping

    def delay(self, count: int) -> int:
        """By how many packets decoding is ahead of showing, at most."""
        return max((int(self._about(number)["delay"]) for number in range(count)), default=0)

    def packets(self, number: int) -> Iterator[tuple[Encoded, int]]:
        """The packets of a piece in the order of decoding, and the durations of their frames."""
        with safe_open(self._path(number), "pt") as file:
            data = file.get_tensor("data").numpy()
            columns = [file.get_tensor(name).tolist() for name in ("size", "pts", "keyframe", "duration")]
        begin = 0
        for size, pts, keyframe, duration in zip(*columns, strict=True):
            yield Encoded(data[begin : begin + size].tobytes(), pts, bool(keyframe)), duration
            begin += size

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.packets"

    def _about(self, number: int) -> dict[str, str]:
        with safe_open(self._path(number), "pt") as file:
            return dict(file.metadata())

    def _is_whole(self, number: int) -> bool:
        try:
            return "delay" in self._about(number)
        except (OSError, SafetensorError, TypeError):
            return False


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    temporary = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        save_file(dict(tensors), temporary, dict(metadata) or None)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
