"""Load an authors' checkpoint without knowing its hyper-parameters, and run it on a photograph.

    python examples/load_checkpoint.py [CHECKPOINT] [PHOTOGRAPH] [--out restored.png]

CHECKPOINT is a .pth, .pt, .ckpt or .safetensors file as the authors publish it. Without one, the script writes a stand-in with
random weights, in the layout of NAFNet's published files: it shows the loading, and restores nothing.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import restoralib
from restoralib.archs import NAFNet
from restoralib.images import Picture, read_image, write_image

PHOTOGRAPH = Path(__file__).with_name("chelsea.png")


def write_stand_in(folder: Path) -> Path:
    """A checkpoint as NAFNet's authors wrap theirs, with random weights."""
    net = NAFNet(width=16, middle_blk_num=1, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1))
    path = folder / "stand-in.pth"
    torch.save({"params": net.state_dict()}, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("photograph", type=Path, nargs="?", default=PHOTOGRAPH)
    parser.add_argument("--out", type=Path, default=Path("restored.png"))
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = options.checkpoint or write_stand_in(Path(folder))
        if options.checkpoint is None:
            print("no checkpoint given: this is a stand-in with random weights, which restores nothing")
        model = restoralib.load_model(path)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{path.name}: {type(model).__name__}, {parameters} parameters, scale {model.spec.scale}")

    restored = restoralib.restore(read_image(options.photograph).color, model)
    write_image(options.out, Picture(restored))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
