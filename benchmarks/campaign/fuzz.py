"""Fuzzing of what reads images, guided by coverage: `cd benchmarks; python -m campaign.fuzz -runs=5000`.

It needs atheris, on Linux. Files of every kind are the corpus; libFuzzer mutates them and keeps what reaches new lines of the
readers. It stops at the first fault, and writes the input that made it into the current folder.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

import atheris

READERS = ("PngImagePlugin", "TiffImagePlugin", "JpegImagePlugin", "BmpImagePlugin", "WebPImagePlugin")

with atheris.instrument_imports(include=["restoralib.images", *(f"PIL.{reader}" for reader in READERS)]):
    from restoralib.images import decode_image, encode_image

from campaign.files import KINDS, sound  # noqa: E402
from campaign.judge import judge_error  # noqa: E402


def one(data):
    """Decode; what can be decoded has to be encoded and decoded again to the same size."""
    try:
        picture = decode_image(data, max_pixels=2**18)
    except Exception as error:
        verdict = judge_error(error)
        if verdict.kind == "fault":
            raise AssertionError(verdict.words) from error
        return
    assert picture.color.isfinite().all()
    assert decode_image(encode_image(picture, "TIFF")).color.shape == picture.color.shape


def main():
    warnings.simplefilter("ignore")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        for number in range(200):
            random = Random(f"corpus {number}")
            (Path(name) / str(number)).write_bytes(sound(random, random.choice(KINDS)))
        atheris.Setup([sys.argv[0], *sys.argv[1:], "-max_len=20000", name], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
