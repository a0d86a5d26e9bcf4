"""The recipe of the latent denoiser: a good start for the autoencoder, and both stages learn, go on and export."""

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from restoralib import load_model
from restoralib.archs import DCAE, SanaTransformer
from restoralib.latent.restorer import LatentRestorer, degradation_text
from restoralib.metrics import psnr
from restoralib.training import latent
from restoralib.training.denoise import add_noise
from restoralib.training.export import export_weights

TINY = {
    "num_attention_heads": 1,
    "attention_head_dim": 8,
    "num_layers": 1,
    "num_cross_attention_heads": 1,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 8,
    "caption_channels": 9,
}
NARROW = {"latent_channels": 4, "attention_head_dim": 8, "scaling_factor": 2.0} | {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {
        "block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "block_out_channels": (4, 8, 8),
        "layers_per_block": (0, 1, 1),
        "qkv_multiscales": ((), (), ()),
    }.items()
}
SMALL = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 2, "cross_attention_dim": 64}


def photographs(count, size=96):
    """Smooth pictures with edges, (3, h, w), uint8."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        smooth = F.interpolate(torch.rand(1, 3, 5, 5, generator=generator), (size, size), mode="bicubic")
        edges = F.interpolate(torch.rand(1, 3, 7, 7, generator=generator), (size, size), mode="nearest")
        yield (0.5 * (smooth + edges).clamp(0, 2) * 255).byte()[0]


@pytest.fixture
def folder(tmp_path):
    for number, photograph in enumerate(photographs(6)):
        Image.fromarray(photograph.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    return tmp_path


def run(folder, stage, steps, *more, name="out", batch=2, patch=64):
    out = folder / f"{name}.safetensors"
    arguments = ["--stage", stage, "--out", out, "--steps", steps, "--batch", batch, "--patch", patch, "--every", 10, *more]
    latent.main([str(folder), *map(str, arguments), "--device", "cpu"])
    return out


def test_the_autoencoder_starts_as_the_best_linear_code():
    images = list(photographs(6))
    torch.manual_seed(0)
    net = DCAE(**latent.AUTOENCODER).eval()
    image = images[0][None].float() / 255
    with torch.inference_mode():
        before = psnr(net(image), image).item()
    latent.principal_start(net, images, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        after = psnr(net(image), image).item()
        latents = net.encode(2 * torch.stack(images).float() / 255 - 1)
    blocks = torch.cat([F.pixel_unshuffle(each[None].float() / 255, 8).flatten(2)[0].T for each in images])
    deviations = torch.linalg.svdvals(blocks - blocks.mean(0))
    bound = -10 * torch.log10(deviations[latents.shape[1] :].square().sum() / blocks.numel())  # of principal components
    assert before < 15 and after > min(bound.item(), 40) - 4
    assert latents.mean((0, 2, 3)).abs().max() < 0.5 < latents.std() < 2


def test_reduced_rank_regression_is_that_of_principal_components():
    maps = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(6, 0, -1)[:, None, None]
    code, basis, mean, offset = latent._reduced_rank(maps, maps, 3)
    flat = maps.transpose(0, 1).flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    left = basis @ (code @ centred) - centred
    values = torch.linalg.svdvals(centred)
    assert left.square().sum().item() == pytest.approx(values[3:].square().sum().item(), rel=1e-4)
    assert torch.allclose(mean, flat.mean(1), atol=1e-5) and torch.allclose(offset, mean)


def test_the_metric_is_that_of_the_decoder():
    torch.manual_seed(0)
    net = DCAE(**latent.AUTOENCODER).eval()
    latent.principal_start(net, list(photographs(6)), torch.Generator().manual_seed(0))
    with torch.inference_mode():
        latents = net.encode(2 * torch.stack(list(photographs(2))).float() / 255 - 1)
        metric = latent.decoder_metric(net, latents)
        assert torch.allclose(metric, metric.T, atol=1e-5) and torch.linalg.eigvalsh(metric).min() > -1e-5
        shown = []
        for channel in (0, 40):  # what is well seen and what is not
            changed = latents.clone()
            changed[:, channel, 4, 4] += 0.1
            shown.append((net.decode(changed) - net.decode(latents)).square().sum().item())
    assert shown[1] / shown[0] == pytest.approx((metric[40, 40] / metric[0, 0]).item(), rel=0.5)


def test_half_of_the_times_are_pure_noise():
    times = latent.draw_times(2001, torch.Generator().manual_seed(0))
    assert (times[:1001] == 1).all() and times[1001:].max() < 1
    assert times[1001:].median().item() == pytest.approx(0.75, abs=0.03)  # 3 / 2 / (1 + 2 / 2)


@pytest.mark.slow
def test_both_stages_learn(folder, monkeypatch):
    monkeypatch.setattr(latent, "DENOISER", latent.DENOISER | SMALL)
    first = run(folder, "autoencoder", 3, name="autoencoder")
    autoencoder = load_model(first)
    assert isinstance(autoencoder, DCAE) and autoencoder.scaling_factor > 0.5
    assert first.stat().st_size < 1.6e6  # float16

    more = ("--autoencoder", first, "--pairs", 24, "--rate", "5e-3")
    net = load_model(run(folder, "denoiser", 60, *more, batch=4))
    assert isinstance(net, SanaTransformer)
    text, clean = degradation_text("denoise"), next(photographs(1))[None].float() / 255
    noisy = add_noise(clean, torch.tensor(50 / 255), torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = (
            psnr(
                LatentRestorer(autoencoder, each.eval(), text, steps=1)(noisy, noise=torch.Generator().manual_seed(1)), clean
            ).item()
            for each in (SanaTransformer(**net.config), net)
        )
    assert after > before + 2


def test_a_stopped_run_goes_on_exactly(folder, monkeypatch):
    monkeypatch.setattr(latent, "DENOISER", latent.DENOISER | SMALL | {"num_layers": 1})
    export_weights(DCAE(**NARROW), folder / "narrow.safetensors", arch="dcae", config=NARROW)
    more = ("--autoencoder", folder / "narrow.safetensors", "--pairs", 8)
    whole = load_model(run(folder, "denoiser", 20, *more, name="whole"))
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(latent, "LatentRestorer", _stop)  # at the first validation
        run(folder, "denoiser", 20, *more, name="parts")
    parts = load_model(run(folder, "denoiser", 20, *more, name="parts"))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def _stop(*_, **__):
    raise KeyboardInterrupt


def test_the_second_stage_needs_the_first(folder):
    with pytest.raises(SystemExit):
        run(folder, "denoiser", 1)
    Image.new("RGB", (64, 64)).save(folder / "x.png")
    other = folder / "denoiser.safetensors"
    export_weights(SanaTransformer(**TINY), other, arch="sana", config=TINY)
    with pytest.raises(ValueError, match="holds a SanaTransformer, not a DCAE"):
        run(folder, "denoiser", 1, "--autoencoder", other)
