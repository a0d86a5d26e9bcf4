"""Sharpen a photograph whose blur is known: the bundled denoiser inside DiffPIR, against Wiener and Richardson-Lucy.

    python examples/diffusion_restoration.py [PHOTOGRAPH] [--steps 12] [--out sharpened.png]

The denoiser was trained for noise of up to 55 of 255 and is not told how much there is. So the diffusion does not start from
noise, but from Wiener's result with as much noise as the denoiser knows (Come-Closer-Diffuse-Faster), and goes down from there.
The blur is that of a moving camera, on a circle, with noise of sigma 2.55 of 255; Wiener's weight and the number of
Richardson-Lucy's steps are those that are best for this photograph, which nobody knows who has the blurred one alone.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from restoralib import create_model
from restoralib.comparison import side_by_side
from restoralib.degradations.motion import shake_kernel
from restoralib.degradations.operators import CircularBlurOperator
from restoralib.diffusion import DDPM, Measurement, blind_denoiser, diffpir, karras, level_steps, sample
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import linear_betas

NOISE = 0.01
LARGEST = 50 / 255  # of what the denoiser knows: up to 55 / 255


def wiener(blur: CircularBlurOperator, blurred: Tensor, weight: float) -> Tensor:
    """The image that minimises |A x - y|^2 + weight |Laplacian of x|^2."""
    pulse = torch.zeros(1, *blur.in_shape)
    pulse[..., 0, 0] = 1
    response = torch.fft.rfft2(blur(pulse))
    laplacian = CircularBlurOperator(blur.in_shape, torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]))
    power = torch.fft.rfft2(laplacian(pulse)).abs() ** 2
    ratio = response.conj() / (response.abs() ** 2 + weight * power)
    return torch.fft.irfft2(torch.fft.rfft2(blurred) * ratio, blurred.shape[-2:]).clamp(0, 1)


def richardson_lucy(blur: CircularBlurOperator, blurred: Tensor, steps: int) -> list[Tensor]:
    """The images after each step of Richardson-Lucy's multiplicative rule."""
    image, images = blurred, []
    for _ in range(steps):
        image = image * blur.adjoint(blurred / blur(image).clamp(min=1e-6))
        images.append(image.clamp(0, 1))
    return images


def sharpen(blur: CircularBlurOperator, blurred: Tensor, start: Tensor, steps: int) -> Tensor:
    """DiffPIR from an image that is restored in part, (1, 3, h, w) in [0, 1]."""
    process = DDPM(linear_betas(1000))
    net = create_model("nafnet_denoise", weights="bundled")
    denoise = blind_denoiser(net, process, largest=55 / 255)
    measurement = Measurement.of_images(blur, blurred, NOISE)
    grid = level_steps(process, karras(steps, 2 * LARGEST, 2 * NOISE, 3))  # levels of images in [-1, 1]
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        noise = torch.randn(start.shape, generator=generator)
        state = process.marginal(2 * start - 1, grid[0], noise)
        x = sample(denoise, state, grid, diffpir(process, measurement, lam=1.0, zeta=1.0), noise=generator)
    return ((x + 1) / 2).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path, nargs="?", default=Path(__file__).with_name("chelsea.png"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("sharpened.png"))
    options = parser.parse_args()

    clean = read_image(options.photograph).color[None, :, :256, :384]
    blur = CircularBlurOperator(clean.shape[1:], shake_kernel(15, torch.Generator().manual_seed(4)))
    blurred = to_8_bits(blur(clean) + NOISE * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)))

    def best(images: list[Tensor]) -> Tensor:
        return max(images, key=lambda image: psnr(image, clean).item())

    filtered = best([wiener(blur, blurred, 10 ** (exponent / 4)) for exponent in range(-16, 1)])
    results = {"blurred": blurred, "Richardson-Lucy": best(richardson_lucy(blur, blurred, 100)[9::10]), "Wiener": filtered}
    results["DiffPIR"] = sharpen(blur, blurred, filtered, options.steps)
    for name, image in results.items():
        print(f"{name:16} PSNR {psnr(image, clean).item():.2f} dB")
    write_image(options.out, Picture(side_by_side([*(image[0] for image in results.values()), clean[0]])))
    print(f"wrote {options.out}: {', '.join(results)}, original")


if __name__ == "__main__":
    main()
