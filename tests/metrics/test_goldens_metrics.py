"""Every figure of the golden files of `metrics`, computed anew from the parameters that stand beside it.

A file is a pair of images with its figures, sets of features, losses, the steps of NIQE, or the keys of a feature network. An
entry that cannot be run fails, unless it is one of `FOREIGN`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from goldens.features import filled_features
from goldens.fill import fill
from goldens.losses import run_loss
from safetensors import safe_open
from safetensors.torch import load_file

from restoralib.blocks.features import feature_skeleton
from restoralib.metrics import (
    DISTS,
    LPIPS,
    NiqeModel,
    fid,
    luma,
    luma_8_bits,
    ms_ssim,
    niqe,
    psnr,
    psnr_b,
    ssim,
    ssim_matlab,
    ssim_pooled,
    ssim_skimage,
)
from restoralib.metrics._window import gaussian, slide
from restoralib.metrics.niqe import block_features, normalized_luma, whole_levels
from restoralib.metrics.ssim import similarity_maps

# What is not run. BRISQUE is no metric of restoralib, so that nothing of it could be held against these features; the README
# of the goldens says of piq's entries that they are there to tell conventions apart, and need not all be matched.
FOREIGN = {("piq", "brisque_features")}

# Parameters that the driver acts on or that change nothing; another one might, so it fails.
KNOWN = {
    *("library", "metric", "border", "data_range", "channels", "luma", "luma_rounding", "window", "sigma", "gaussian"),
    *("sample_covariance", "padding", "dtype", "eps", "downsample", "image", "convert_to", "net", "version", "linear"),
    *("normalize", "per_layer", "formula", "scaling_layer", "alpha_beta", "resize", "features_a", "features_b"),
    *("covariance_ddof", "restored", "reference", "file"),
}


def test_golden_metrics_give_the_libraries_figures(metrics_golden, record_property):
    path = metrics_golden
    if path.name.endswith(".keys.json"):
        return check_keys(path)
    tensors = load_file(path) if path.suffix == ".safetensors" else {}
    figures = json.loads(path.with_suffix(".json").read_text()) if path.with_suffix(".json").exists() else None
    if figures is None:
        return check_niqe_tensors(path, tensors)
    worst: dict[str, float] = {}
    skipped = []
    for name, expected in figures["values"].items():
        how = figures["parameters"][name]
        if "loss" in how:
            worst["losses"] = max(worst.get("losses", 0.0), check_loss(name, how, expected, tensors))
            continue
        if (how.get("library"), how["metric"]) in FOREIGN:
            skipped.append(name)
            continue
        unknown = how.keys() - KNOWN
        assert not unknown, f"{name} has parameters that the driver does not know: {sorted(unknown)}"
        got = torch.as_tensor(RUN[how["metric"]](how, tensors, path), dtype=torch.float64).flatten()
        wanted = torch.tensor([float(value) for value in (expected if isinstance(expected, list) else [expected])]).double()
        assert got.shape == wanted.shape, name
        error = torch.where(got == wanted, 0.0, (got - wanted).abs()).max().item()
        bound = tolerance(how, wanted)
        assert error <= bound, f"{name}: {got.tolist()} where {wanted.tolist()} is expected, more than {bound:.1e} off"
        worst[how["metric"]] = max(worst.get(how["metric"], 0.0), error)
    for name in tensors:
        if name.startswith("spatial_"):
            worst["spatial"] = check_spatial(name.removeprefix("spatial_"), tensors, name)
    for metric, error in worst.items():
        record_property(metric, error)
    assert figures["parameters"].keys() == figures["values"].keys()
    assert len(skipped) < len(figures["values"]), f"nothing of {path.name} was run"


def check_loss(name, how, expected, tensors):
    """A loss, and its gradient where the file has one; the relative error."""
    tensors = {key: value.double() for key, value in tensors.items()}
    slope = tensors.get(f"grad.{name}")
    tensors["pred"].requires_grad_(slope is not None)
    value = run_loss(how, tensors)
    errors = [abs(value.item() - expected) / abs(expected)]
    if slope is not None:
        (gradient,) = torch.autograd.grad(value, tensors["pred"])
        errors.append(((gradient - slope).abs().max() / slope.abs().max()).item())
    assert max(errors) <= 1e-5, f"{name}: {value.item()} where {expected} is expected; relative errors {errors}"
    return max(errors)


def tolerance(how, wanted):
    """As the README of the goldens states them; the libraries' luma is of float32."""
    metric, size = how["metric"], wanted.abs().max().item()
    if metric in ("psnr", "psnrb"):
        return 2e-4 if how.get("channels") == "y" else 1e-4
    if metric in ("ssim", "ssim3d", "ms_ssim"):
        return 1e-4 if how.get("dtype") == "float32" else 1e-6
    if metric == "fid":
        return 1e-6 * max(size, 1)
    return 1e-3 if metric == "niqe" else 1e-5 * size


def golden_image(array):
    """uint8 HW or HWC, or float NCHW -> (1, c, h, w) in [0, 1], float64."""
    if array.ndim == 4:
        return array.double()
    image = array.double() / 255
    return (image[None] if image.ndim == 2 else image.permute(2, 0, 1))[None]


def pair(how, tensors, path):
    """Both images, as they are compared."""
    if "file" in how:
        tensors = load_file(path.parent / how["file"])
    names = (how["restored"], how["reference"]) if "restored" in how else ("distorted", "reference")
    images = [golden_image(tensors[name]) for name in names]
    channels = how["channels"]
    assert channels in ("rgb", "bgr", "gray", "y", "gray_full_range"), channels
    assert images[0].shape[1] == (1 if channels == "gray" else 3)
    if channels == "gray_full_range":
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
        images = [torch.einsum("bchw,c->bhw", image, weights)[:, None] for image in images]
    if channels == "bgr":
        images = [image.flip(1) for image in images]
    if channels == "y":
        assert how["luma"] == "bt601_limited", how["luma"]
        assert how.get("luma_rounding") in (None, "uint8"), how["luma_rounding"]
        images = [(luma_8_bits if how.get("luma_rounding") else luma)(image) for image in images]
    if how["data_range"] == "from the data":  # the larger span of the two
        return images, {"crop": how["border"], "data_range": max((image.max() - image.min()).item() for image in images)}
    assert how["data_range"] in (1, 255), how["data_range"]
    return [image * how["data_range"] for image in images], {"crop": how["border"], "data_range": how["data_range"]}


def run_psnr(how, tensors, path):
    images, options = pair(how, tensors, path)
    return psnr(*images, **options, eps=how.get("eps", 0.0))


def run_psnrb(how, tensors, path):
    images, options = pair(how, tensors, path)
    return psnr_b(*images, **options)


def run_ssim(how, tensors, path):
    """With any window, border and covariance; a border of repeated pixels is MATLAB's, pooling before it piq's."""
    images, options = pair(how, tensors, path)
    border, sample = how.get("padding", "valid"), how.get("sample_covariance", False)
    window, sigma = how.get("window", 11), how.get("sigma", 1.5) if how.get("gaussian", True) else None
    if (window, sigma, sample) == (11, 1.5, False):
        if how.get("downsample"):
            assert border == "valid"
            return ssim_pooled(*images, **options)
        if border == "replicate" and images[0].shape[1] == 1:
            return ssim_matlab(*images, **options)
    assert not how.get("downsample")
    if (window, sigma, sample, border) == (7, None, True, "valid"):
        return ssim_skimage(*images, **options)
    return ssim(*images, **options, window=window, sigma=sigma, border=border, sample_covariance=sample)


def run_ssim3d(how, tensors, path):
    assert (how["window"], how["sigma"], how["gaussian"], how["padding"]) == (11, 1.5, True, "replicate")
    images, options = pair(how, tensors, path)
    return ssim_matlab(*images, **options)


def run_ms_ssim(how, tensors, path):
    assert (how["window"], how["sigma"], how["gaussian"], how.get("padding", "valid")) == (11, 1.5, True, "valid")
    images, options = pair(how, tensors, path)
    if how["library"] == "torchmetrics":
        return torchmetrics_ms_ssim(*images, options)
    return ms_ssim(*images, **options)


def torchmetrics_ms_ssim(image, target, options):
    """MS-SSIM with a mirrored border in the last scale, odd sides cut, and channels averaged first: not a metric of ours."""
    assert options["crop"] == 0
    window = gaussian(11, 1.5)
    product = 1.0
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
        if scale == 4:
            value = ssim(image, target, data_range=options["data_range"], border="reflect")
        else:
            maps = similarity_maps(image, target, lambda x: slide(x, window), options["data_range"])
            value = maps[1].mean((1, 2, 3))
        product = product * value.relu() ** exponent
    return product


def run_niqe(how, tensors, path):
    kind = {"y": "matlab", "gray": "gray"}[how["convert_to"]]
    return niqe(golden_image(tensors[how["image"]]), luma=kind, crop=how["border"])


def run_fid(how, tensors, path):
    assert how["covariance_ddof"] == 1
    return fid(tensors[how["features_a"]], tensors[how["features_b"]])


@cache
def golden_lpips(net, version, linear):
    features = filled_features({"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net])
    published = LPIPS(net, version=version, weights=features)
    counts = [published.get_buffer(f"linear{tap}").numel() for tap in range(len(published.taps))]
    given = {
        "package": lambda tap, count: published.get_buffer(f"linear{tap}"),
        "fill": lambda tap, count: torch.from_numpy(fill(f"lin{tap}.model.1.weight", (1, count, 1, 1))),
        "none": lambda tap, count: torch.ones(count),
    }[linear]
    vectors = [given(tap, count) for tap, count in enumerate(counts)]
    return LPIPS(net, version=version, weights=features, linear=vectors).double()


@cache
def lpips_layers(path, net, version, linear, normalize):
    model = golden_lpips(net, version, linear)
    tensors = load_file(path)
    images = [golden_image(tensors[name]) for name in ("distorted", "reference")]
    if not normalize:  # [0, 1] given where [-1, 1] is expected
        images = [(image + 1) / 2 for image in images]
    return model.per_layer(*images)


def run_lpips(how, tensors, path):
    layers = lpips_layers(path, how["net"], how["version"], how["linear"], how["normalize"])
    return layers if how["per_layer"] else layers.sum()


def check_spatial(net, tensors, name):
    model = golden_lpips(net, "0.1", "fill")
    got = model.spatial(golden_image(tensors["distorted"]), golden_image(tensors["reference"]))[0, 0]
    error = ((got - tensors[name]).abs().max() / tensors[name].abs().max()).item()
    assert error <= 1e-5, name
    return error


def run_report_formula(how, tensors, path):
    """Squared differences without unit length and weights, on the layers of LPIPS: what a report mistook for LPIPS."""
    assert how["net"] == "vgg16"
    assert how["scaling_layer"]
    assert how["formula"].startswith("sum over taps of mean over positions of squared feature difference summed over channels")
    model = golden_lpips("vgg", "0.1", "none")
    sides = [(2 * golden_image(tensors[name]) - 1 - model.shift) / model.scale for name in ("distorted", "reference")]
    stages = [model.features(side, model.taps) for side in sides]
    layers = torch.stack([(x - y).square().sum(1).mean() for x, y in zip(*stages, strict=True)])
    return layers if how["per_layer"] else layers.sum()


def run_dists(how, tensors, path):
    assert how["net"] == "vgg16"
    weights = {
        "package": {},
        "fill_abs": {name: torch.from_numpy(fill(name, (1, 1475, 1, 1))).abs() for name in ("alpha", "beta")},
    }[how["alpha_beta"]]
    model = DISTS(weights=filled_features("vgg16"), resize=how["resize"], **weights).double()
    return model(golden_image(tensors["distorted"]), golden_image(tensors["reference"]))


RUN = {
    "psnr": run_psnr,
    "psnrb": run_psnrb,
    "ssim": run_ssim,
    "ssim3d": run_ssim3d,
    "ms_ssim": run_ms_ssim,
    "niqe": run_niqe,
    "fid": run_fid,
    "lpips": run_lpips,
    "report_formula": run_report_formula,
    "dists": run_dists,
}


def check_keys(path):
    """The keys and shapes of a feature network, in their order."""
    network = path.name.partition(".")[0].removeprefix("perceptual_")
    ours = [(key, list(value.shape)) for key, value in feature_skeleton(network).state_dict().items()]
    assert ours == [(key, shape) for key, shape, _ in json.loads(path.read_text())]


def check_niqe_tensors(path, tensors):
    """The steps of NIQE on the image of a neighbouring file, or its published model."""
    if tensors.keys() == {"mu_pris_param", "cov_pris_param", "gaussian_window"}:
        model = NiqeModel.published()
        assert torch.equal(model.mean, tensors["mu_pris_param"][0])
        assert torch.equal(model.covariance, tensors["cov_pris_param"])
        row = torch.tensor(gaussian(7, 7 / 6), dtype=torch.float64)
        assert torch.allclose(torch.outer(row, row), tensors["gaussian_window"], rtol=1e-12)
        return
    assert tensors.keys() == {"mscn", "scale1_features", "output"}, f"{path.name} is of an unknown kind"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    kind, block = {"y": "matlab", "gray": "gray"}[config["convert_to"]], config["block"]
    neighbour = Path(str(path).replace("_niqe_steps.safetensors", ".safetensors"))
    image = golden_image(load_file(neighbour)["distorted"])
    # The stored steps normalise the whole luma, where the score normalises what whole blocks are cut from.
    whole = normalized_luma(whole_levels(image, kind))[0, 0]
    assert (whole[:block, :block] - tensors["mscn"]).abs().max() <= 1e-5 * tensors["mscn"].abs().max()
    tiles = whole.unfold(0, block, block).unfold(1, block, block).transpose(0, 1).reshape(-1, block, block)
    assert torch.allclose(block_features(tiles), tensors["scale1_features"], rtol=1e-5, atol=1e-6)
    assert niqe(image, luma=kind).item() == pytest.approx(tensors["output"].item(), abs=1e-3)
