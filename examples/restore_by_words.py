"""Say in words what is to be done with a photograph, or let restoralib look for itself.

    python examples/restore_by_words.py [PHOTOGRAPH] [--wish "remove the noise and make it twice as large"] [--out by_words.png]

The photograph beside this file (CC0, see examples/README.md) gets noise of sigma 25. First the classifier tells what it sees
and "auto" undoes it; then the wish is understood and done. Weights that are not bundled come by `models={"derain": FILE}`.
"""

import argparse
from pathlib import Path

import restoralib
from restoralib.degradations import GaussianNoise
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import psnr
from restoralib.restoration import estimate, understand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path, nargs="?", default=Path(__file__).with_name("chelsea.png"))
    parser.add_argument("--wish", default="Please remove the noise and make it twice as large, but keep the blur.")
    parser.add_argument("--out", type=Path, default=Path("by_words.png"))
    options = parser.parse_args()

    clean = read_image(options.photograph).color[None]
    noisy = GaussianNoise(25.0, rounds=True)(clean)

    seen = {name: chance for name, chance in estimate(noisy).items() if chance > 0.5}
    print("seen in the noisy photograph:", ", ".join(f"{name} {chance:.0%}" for name, chance in seen.items()) or "nothing")
    restored = restoralib.restore(noisy, "auto")
    print(f"auto: PSNR {psnr(noisy, clean).item():.2f} dB before, {psnr(restored, clean).item():.2f} dB after")
    print(f"auto, clean photograph: changed by {(restoralib.restore(clean, 'auto') - clean).abs().max().item():.3f} at most")

    print(f"{options.wish!r} is understood as {understand(options.wish)}")
    enlarged = restoralib.restore(noisy, prompt=options.wish)
    write_image(options.out, Picture(enlarged[0]))
    print(f"wrote {options.out}: {enlarged.shape[-1]} x {enlarged.shape[-2]} pixels")


if __name__ == "__main__":
    main()
