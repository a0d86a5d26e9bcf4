"""Images a second of every metric and loss, and what other libraries take for the same; one RGB image of 512x512, float32."""

import time

import pytest
import torch
from torch import Tensor

from restoralib import losses, metrics
from restoralib.blocks.features import feature_skeleton, load_features

SIZE = 512


def photographs(device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Something smooth with noise, and the same blurred."""
    noise = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    target = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)
    return torch.nn.functional.avg_pool2d(target, 3, 1, 1).to(device), target.to(device)


def features(name):
    """A feature network with random weights: they do not change what it costs."""
    generator = torch.Generator().manual_seed(0)
    keys = feature_skeleton(name).state_dict()
    return load_features(name, {key: 0.05 * torch.randn(value.shape, generator=generator) for key, value in keys.items()})


METRICS = {
    "psnr": lambda: metrics.psnr,
    "psnr_b": lambda: metrics.psnr_b,
    "psnr of basicsr-y": lambda: lambda x, y: metrics.PROTOCOLS["basicsr-y"].psnr(x, y, scale=4),
    "ssim": lambda: metrics.ssim,
    "ssim_matlab": lambda: metrics.ssim_matlab,
    "ssim_skimage": lambda: metrics.ssim_skimage,
    "ssim_pooled": lambda: metrics.ssim_pooled,
    "ms_ssim": lambda: metrics.ms_ssim,
    "niqe": lambda: lambda x, y: metrics.niqe(x),
    "lpips alex": lambda: metrics.LPIPS("alex", weights=features("alexnet")),
    "lpips squeeze": lambda: metrics.LPIPS("squeeze", weights=features("squeezenet1_1")),
    "lpips vgg": lambda: metrics.LPIPS("vgg", weights=features("vgg16")),
    "dists": lambda: metrics.DISTS(weights=features("vgg16")),
}

LOSSES = {
    "l1_loss": lambda: losses.l1_loss,
    "charbonnier_loss": lambda: losses.charbonnier_loss,
    "edge_loss": lambda: losses.edge_loss,
    "psnr_loss": lambda: losses.psnr_loss,
    "ssim_loss": lambda: losses.ssim_loss,
    "frequency_loss": lambda: losses.frequency_loss,
    "total_variation": lambda: lambda x, y: losses.total_variation(x),
    "PerceptualLoss real-esrgan": lambda: losses.PerceptualLoss.named("real-esrgan", weights=features("vgg19")),
}


def skimage_ssim(metrics, x, y, **options):
    sides = (side[0].permute(1, 2, 0).numpy() for side in (x, y))
    return metrics.structural_similarity(*sides, channel_axis=2, data_range=1.0, **options)


GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

# Module, our metric, the same there.
PEERS = {
    "piq psnr": ("piq", "psnr", lambda module, x, y: module.psnr(x, y)),
    "piq ssim": ("piq", "ssim", lambda module, x, y: module.ssim(x, y, downsample=False)),
    "piq ms_ssim": ("piq", "ms_ssim", lambda module, x, y: module.multi_scale_ssim(x, y)),
    "scikit-image ssim": ("skimage.metrics", "ssim", lambda module, x, y: skimage_ssim(module, x, y, **GAUSSIAN)),
    "scikit-image ssim, default": ("skimage.metrics", "ssim_skimage", skimage_ssim),
}


@pytest.mark.parametrize("name", METRICS)
def test_metric(benchmark, device, name):
    run(benchmark, device, METRICS[name](), backward=False)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_with_its_gradient(benchmark, device, name):
    with torch.inference_mode(False):
        run(benchmark, device, LOSSES[name](), backward=True)


def run(benchmark, device, measure, *, backward):
    if isinstance(measure, torch.nn.Module):
        measure = measure.to(device)
    image, target = photographs(device)

    def call():
        if backward:
            measure(image.detach().requires_grad_(), target).backward()
        else:
            measure(image, target)
        if device.type == "cuda":
            torch.cuda.synchronize()

    call()
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    if benchmark.stats:
        benchmark.extra_info["images a second"] = 1 / benchmark.stats["median"]


@pytest.mark.parametrize("peer", PEERS)
def test_ratio_to_another_library(peer, record_property, capsys):
    """Calls in turn, and the ratio of the medians, so that a busy machine falls on both."""
    module, name, theirs = PEERS[peer]
    module = pytest.importorskip(module)
    ours = METRICS[name]()
    image, target = photographs("cpu")
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(9):
        for side, measure in (("ours", ours), ("theirs", lambda x, y: theirs(module, x, y))):
            began = time.perf_counter()
            measure(image, target)
            times[side].append(time.perf_counter() - began)
    mine, other = (sorted(seconds)[len(seconds) // 2] for seconds in times.values())
    with capsys.disabled():
        print(f"\n{name} takes {mine * 1e3:.1f} ms, {peer} {other * 1e3:.1f} ms: {mine / other:.2f} of it")
    record_property("ratio", mine / other)
