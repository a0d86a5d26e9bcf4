"""Denoise a film with and without the blend from frame to frame, and measure quality and flicker of both.

    python examples/restore_video.py [FILM]

Without a film, a noisy one is made of examples/coffee.png, over which the camera moves in the second half.
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from restoralib.video import Encoding, flicker, restore_video, video_info


def make_film(path: Path, frames: int = 8, sigma: float = 25.0) -> list[np.ndarray]:
    """Write a noisy film without loss; its clean frames are returned."""
    photograph = np.asarray(Image.open(Path(__file__).with_name("coffee.png")).convert("RGB"))
    generator = np.random.default_rng(0)
    clean = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        for number in range(frames):
            left = 120 + 4 * max(0, number - frames // 2)
            clean.append(photograph[100:164, left : left + 96])
            noisy = (clean[-1] + sigma * generator.standard_normal(clean[-1].shape)).clip(0, 255).round().astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return clean


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def psnr(frames: list[np.ndarray], clean: list[np.ndarray]) -> float:
    return 10 * np.log10(255**2 / np.mean((np.stack(frames).astype(float) - np.stack(clean)) ** 2))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, clean = Path(folder, "noisy.mkv"), None
        if len(sys.argv) > 1:
            source = Path(sys.argv[1])
        else:
            clean = make_film(source)
        info = video_info(source)
        print(f"{source.name}: {info.frames} frames of {info.width} x {info.height}, {info.codec}")
        for blend in (0.0, 0.7):
            target = Path(folder, f"blend{blend}.mkv")
            restore_video(source, target, "denoise", blend=blend, encoding=Encoding("ffv1"))
            less = 255 * flicker(read(target), read(source), reference=clean)
            quality = f", PSNR {psnr(read(target), clean):.2f} dB" if clean else ""
            print(f"blend {blend}: flicker {less:+.2f} of 255 against the input{quality}")


if __name__ == "__main__":
    main()
