"""RealBlur, whose splits are lists of files."""

from __future__ import annotations

from restoralib.data.entry import Entry, ImageFile
from restoralib.data.finding import Found, Places, Request, faults, find_pairs
from restoralib.data.reading import DatasetError


def find_realblur(request: Request, kind: str) -> Found:
    """RealBlur-J or -R: the authors' lists with scenes, or flattened folders.

    Args:
        request: what the caller asked.
        kind: "J" or "R".
    """
    listed = request.root / f"RealBlur_{kind}_{request.split}_list.txt"
    if not listed.exists():
        variants = [
            Places("{split}/target", "{split}/input"),
            Places("target", "input"),
            Places("{split}/gt", "{split}/blur"),
        ]
        try:
            return find_pairs(request, variants)
        except DatasetError as error:
            raise DatasetError(f"{error}\n  {listed.name}, the authors' list") from None
    entries = []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise DatasetError(f"{listed} should name a clean and a blurred file in each line, but line {number} is {line!r}")
        clean, blurred = (request.root / part for part in parts)
        scene, stem = clean.parent.parent.name, clean.stem.removeprefix("gt_")
        entries.append(Entry(f"{scene}-{stem}", ImageFile(blurred), ImageFile(clean), {"scene": scene}))
    return Found(entries, faults(entries), listed.name)
