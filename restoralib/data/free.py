"""Write a folder of training images that are free of terms: procedural ones, and free photographs of installed packages.

    python -m restoralib.data.free FOLDER --procedural 400
    restoralib train supervised --data FOLDER ...

Any recipe trains on the folder. Weights that come of it owe nothing to data that is for research alone. `CREDITS.txt` beside
the images names the photographs, their authors and their licences. Which photographs there are depends on the packages that
are installed: scikit-image, scikit-learn, matplotlib and PyWavelets bring some, and Debian's `lomiri-wallpapers-16.04` some
large ones: `apt-get download` fetches it, `dpkg --extract` unpacks it without installing it, and `--root` says where to.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from torch import Tensor

from restoralib.data.free_photographs import EXAMPLES, FreePhotograph, credits_table, find_photographs
from restoralib.data.procedural import procedural_image
from restoralib.data.reading import image_files

_PREFIXES = ("free_", "procedural_")


def write_free_images(
    folder: str | Path,
    *,
    procedural: int = 400,
    size: int = 512,
    seed: int = 0,
    exclude: tuple[str, ...] = EXAMPLES,
    root: str | Path = "/",
) -> list[FreePhotograph]:
    """Write free training images as PNG files, `free_*` for photographs and `procedural_*`, and their credits.

    Args:
        folder: is made where it does not exist.
        procedural: number of procedural images, 0 or more.
        size: their height and width in pixels, 16 or more.
        seed: of the procedural images.
        exclude: glob patterns of names of photographs that are left out.
        root: where Debian packages are installed or unpacked.

    Returns:
        The photographs that were found.

    Raises:
        ValueError: the folder holds other images, which may not be free; or a number is out of range.
        ImportError: the extra `io` is not installed.
    """
    if procedural < 0:
        raise ValueError(f"expected 0 procedural images or more, got {procedural}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    foreign = [path.name for path in image_files(folder) if not path.name.startswith(_PREFIXES)]
    if foreign:
        raise ValueError(f"{folder} holds other images, such as {foreign[0]}; name a folder of its own for the free ones")
    found = []
    for photograph, pieces in find_photographs(exclude=exclude, root=root):
        for name, piece in pieces.items():
            _write(folder / f"free_{name}.png", piece)
        found.append(photograph)
    for number in range(procedural):
        _write(folder / f"procedural_{seed}_{number:05}.png", procedural_image(seed, number, size, size))
    (folder / "CREDITS.txt").write_text(credits_table(found), encoding="utf-8")
    return found


def _write(path: Path, image: Tensor) -> None:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError('image files need Pillow; pip install "restoralib[io]"') from error
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(path)


def main(arguments: list[str] | None = None) -> None:
    """Write the folder with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the images go")
    parser.add_argument("--procedural", type=int, default=400, help="number of procedural images")
    parser.add_argument("--size", type=int, default=512, help="their height and width in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the procedural images")
    parser.add_argument("--exclude", nargs="*", default=list(EXAMPLES), help="patterns of names of photographs to leave out")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where Debian packages are installed or unpacked")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = write_free_images(
            options.folder,
            procedural=options.procedural,
            size=options.size,
            seed=options.seed,
            exclude=tuple(options.exclude),
            root=options.root,
        )
    except ValueError as error:
        parser.error(str(error))
    logging.getLogger(__name__).info(
        "%d free photographs and %d procedural images in %s", len(found), options.procedural, options.folder
    )


if __name__ == "__main__":
    main()
