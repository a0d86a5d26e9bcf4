"""Train a small denoiser on photographs of one's own, and restore one that it has not seen.

    python examples/train_your_own.py [FOLDER] [--steps 300] [--out denoiser.safetensors]

The network is NAFNet, eight channels wide, with its authors' loss and schedule. The first photograph is held out. A run that is
stopped goes on where it was.
"""

import argparse
from pathlib import Path

import torch

from restoralib import load_model, restore
from restoralib.data import open_photographs
from restoralib.degradations import add_gaussian_noise
from restoralib.metrics import psnr
from restoralib.training import supervised

NETWORK = "width=8 middle_blk_num=1 enc_blk_nums=[1,1] dec_blk_nums=[1,1]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("denoiser.safetensors"))
    arguments = parser.parse_args()

    # The same as: restoralib train supervised --data FOLDER -o OUT --set arch=nafnet_sidd_width32 --set …
    settings = f"--steps {arguments.steps} --batch 8 --patch 48 --every 100 --degrade denoise:10-50 --device cpu"
    supervised.main([str(arguments.folder), "--out", str(arguments.out), *settings.split(), "--config", *NETWORK.split()])

    held_out, _ = open_photographs(arguments.folder)
    clean = held_out[0][None, :, :256, :256].float() / 255
    noisy = add_gaussian_noise(clean, 25.0, generator=torch.Generator().manual_seed(0))
    restored = restore(noisy, load_model(arguments.out))
    print(f"noisy {psnr(noisy, clean).item():.2f} dB, restored {psnr(restored, clean).item():.2f} dB")


if __name__ == "__main__":
    main()
