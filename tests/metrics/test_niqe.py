"""NIQE: its parts by definition, its fit, and what it says of images that it cannot judge; goldens are run elsewhere."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib.metrics import NiqeModel, fit_niqe, niqe
from restoralib.metrics.niqe import _fit_generalized_gaussian, block_features, niqe_features, normalized_luma

EXAMPLES = Path(__file__).parents[2] / "examples"
CHELSEA = 2.6255  # by the version whose figures equal the goldens


def photograph(name="chelsea.png"):
    image = np.asarray(Image.open(EXAMPLES / name).convert("RGB"))
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double() / 255


def test_noise_and_blur_make_a_photograph_less_natural():
    clean = photograph()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = (clean + 0.1 * noise).clamp(0, 1)
    blurred = torch.nn.functional.avg_pool2d(clean, 7, 1, 3)
    natural, worse, worst = niqe(torch.cat([clean, noisy, blurred])).tolist()
    assert natural < worse
    assert natural < worst
    assert natural == pytest.approx(CHELSEA, abs=1e-3)


def test_the_fit_of_a_generalized_gaussian_finds_what_was_drawn():
    draw = torch.distributions.Laplace(torch.tensor(0.0, dtype=torch.float64), 2.0)
    torch.manual_seed(0)
    shape, left, right = _fit_generalized_gaussian(draw.sample((1, 400, 400)))
    assert shape.item() == pytest.approx(1, abs=0.03)
    assert left.item() == pytest.approx(2, abs=0.06)
    assert right.item() == pytest.approx(2, abs=0.06)


def test_flat_areas_are_exactly_zero_after_normalisation():
    luma = torch.full((1, 1, 20, 20), 137.0, dtype=torch.float64)
    assert (normalized_luma(luma) == 0).all()
    luma[..., 10:] = 20
    assert (normalized_luma(luma)[..., :5] == 0).all()


def test_features_are_eighteen_a_block_and_scale():
    features = niqe_features(photograph()[..., :200, :300])
    assert features.shape == (2 * 3, 36)
    assert features.isfinite().all()
    assert block_features(torch.randn(5, 48, 48, dtype=torch.float64)).shape == (5, 18)


def test_grey_crop_and_batches():
    image = photograph()[..., :200, :200]
    assert niqe(image[:, :1]).isfinite().all()
    assert niqe(image, luma="gray").isfinite().all()
    assert torch.equal(niqe(image, crop=4), niqe(image[..., 4:-4, 4:-4]))
    assert niqe(torch.cat([image, image.flip(3)])).shape == (2,)


def test_images_that_cannot_be_judged_are_nan_or_named():
    image = photograph()[..., :192, :192]
    spoiled = image.clone()
    spoiled[0, 0, 0, 0] = math.nan
    values = niqe(torch.cat([image, spoiled, torch.full_like(image, 0.5)]))
    assert values.isnan().tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"two whole blocks of 96x96 pixels, got 191x191$"):
        niqe(image[..., 1:, 1:])
    with pytest.raises(ValueError, match="after a crop of 1"):
        niqe(image, crop=1)
    with pytest.raises(ValueError, match="'matlab' or 'gray'"):
        niqe(image, luma="rgb")
    with pytest.raises(ValueError, match=r"the image goes from 0 to .*, where 0 to 1 is expected"):
        niqe(255 * image)
    with pytest.raises(ValueError, match="one image"):
        niqe(image[:, :2])
    with pytest.raises(TypeError, match="divide 8-bit values"):
        niqe((255 * image).byte())


def test_a_model_is_fitted_to_own_photographs():
    images = [photograph("chelsea.png"), photograph("coffee.png")[0]]
    model = fit_niqe(images, block=48, sharpness=0.3)
    assert model.mean.shape == (36,)
    assert torch.linalg.eigvalsh(model.covariance).min() > -1e-9
    blurred = torch.nn.functional.avg_pool2d(images[0], 7, 1, 3)
    assert niqe(images[0], model=model).item() < niqe(blurred, model=model).item()
    published = NiqeModel.published()
    assert published.block == 96
    assert published.mean.shape == (36,)


def test_a_fit_needs_enough_sharp_blocks():
    with pytest.raises(ValueError, match="more than 36 sharp blocks, got 0; give more photographs"):
        fit_niqe([])
    with pytest.raises(ValueError, match="more than 36 sharp blocks"):
        fit_niqe([photograph()])
    with pytest.raises(ValueError, match="block should be an even number"):
        fit_niqe([photograph()], block=47)
    with pytest.raises(ValueError, match="not finite"):
        fit_niqe([photograph() * math.nan])
    with pytest.raises(ValueError, match="a block of 96x96 pixels at least, got 50x50"):
        fit_niqe([photograph()[..., :50, :50]])
