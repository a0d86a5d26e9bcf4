"""PSNR and SSIM against the stored figures of the reference libraries and against their definitions."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from restoralib.metrics import psnr, ssim
from restoralib.ops.color import rgb_to_y


def metric_pairs(folder: Path) -> list[Path]:
    """The golden files that hold a pair of images; the other metrics of the folder are still to come."""

    def is_pair(path):
        golden = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(golden, dict) and "basicsr.psnr.crop0" in golden.get("values", {})

    return [path for path in sorted(folder.glob("*.json")) if path.with_suffix(".safetensors").exists() and is_pair(path)]


def golden_pair(path: Path, name: str) -> torch.Tensor:
    image = load_file(path.with_suffix(".safetensors"))[name].double() / 255
    return (image[None] if image.ndim == 2 else image.permute(2, 0, 1))[None]


def conventional(values: dict, parameters: dict) -> list[str]:
    """The entries that our functions claim to reproduce: 2-D PSNR and SSIM without padding, on RGB, grey or luma."""
    libraries = ("basicsr.", "matlab_y_uint8.", "skimage.psnr", "skimage.ssim_gaussian", "nafnet.psnr", "nafnet.ssim2d_no3d")
    return [
        name
        for name in values
        if name.startswith(libraries)
        and parameters[name]["metric"] in ("psnr", "ssim")
        and not parameters[name].get("sample_covariance")
        and not parameters[name].get("eps")
        and "_pt." not in name
    ]


def test_golden_metrics_psnr_and_ssim_equal_the_papers_libraries(request):
    folder = Path(request.config.getoption("--goldens")) / "metrics"
    pairs = metric_pairs(folder)
    if not pairs:
        pytest.skip(f"{folder} has no metric pairs")
    checked = 0
    for path in pairs:
        golden = json.loads(path.read_text())
        distorted, reference = golden_pair(path, "distorted"), golden_pair(path, "reference")
        for name in conventional(golden["values"], golden["parameters"]):
            how = golden["parameters"][name]
            image, target = distorted, reference
            if how["channels"] == "y":
                image, target = rgb_to_y(image), rgb_to_y(target)
            if how.get("luma_rounding") == "uint8":
                # MATLAB rounds halves up, and the luma of 8-bit colours meets them exactly but for floating point.
                image, target = ((side * 255 + 0.5 + 1e-9).floor() / 255 for side in (image, target))
            value = (psnr if how["metric"] == "psnr" else ssim)(image, target, crop=how["border"]).item()
            expected = float(golden["values"][name])
            bound = 2e-4 if how["metric"] == "psnr" and how["channels"] == "y" else 1e-4 if how["metric"] == "psnr" else 1e-6
            assert value == expected or abs(value - expected) <= bound, (path.stem, name, value, expected)
            checked += 1
    assert checked >= 8 * len(pairs)


def test_equal_images_have_infinite_psnr_and_ssim_one():
    image = torch.rand(2, 3, 16, 20)
    assert psnr(image, image).tolist() == [math.inf, math.inf]
    assert torch.allclose(ssim(image, image), torch.ones(2, dtype=torch.float64))


def test_psnr_of_a_constant_error_is_known():
    image = torch.full((1, 1, 4, 4), 0.5)
    assert psnr(image, image + 0.1).item() == pytest.approx(20, abs=1e-5)
    assert psnr(image * 255, image * 255 + 25.5, data_range=255).item() == pytest.approx(20, abs=1e-5)


def test_psnr_is_per_image_and_leaves_the_border_out():
    image = torch.zeros(2, 1, 8, 8)
    target = image.clone()
    target[0, :, 0] = 1
    target[1, :, 4, 4] = 1
    assert psnr(image, target, crop=1)[0] == math.inf
    assert psnr(image, target, crop=1)[1] == pytest.approx(10 * math.log10(36))


def test_ssim_has_a_gradient():
    image = torch.rand(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim(x, target), image)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_pairs_are_named(metric):
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="one shape"):
        metric(image, image[..., :15])
    with pytest.raises(ValueError, match="one shape"):
        metric(image[0], image[0])
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        metric((image * 255).byte(), (image * 255).byte())
    with pytest.raises(ValueError, match="leaves nothing"):
        metric(image, image, crop=8)


def test_ssim_of_an_image_smaller_than_its_window_is_an_error():
    with pytest.raises(ValueError, match="11x11"):
        ssim(torch.rand(1, 1, 10, 30), torch.rand(1, 1, 10, 30))
