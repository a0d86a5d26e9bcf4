"""StableSR's sampling, from an image to one four times as large."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs import KLAutoencoder, StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.diffusion import ancestral, ddim, denoiser, sample
from restoralib.latent import (
    StableSRParts,
    adain,
    aggregate_tiles,
    gaussian_tile_weights,
    stablesr,
    stablesr_denoiser,
    stablesr_process,
    stablesr_times,
)
from restoralib.latent.stablesr import tile_offsets
from restoralib.ops.resize import resize

CONTEXT = 6


@pytest.fixture(scope="module")
def parts():
    return make_parts()


def make_parts(prediction="eps", dtype=torch.float64):
    """Small networks with an autoencoder of factor 4."""
    torch.manual_seed(0)
    body = {"image_size": 8, "in_channels": 4, "model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 1)}
    nets = (
        StableSRUNet(**body, out_channels=4, attention_resolutions=(2,), num_heads=2, context_dim=CONTEXT, semb_channels=4),
        StableSRGuidanceEncoder(**body, out_channels=4, attention_resolutions=(), num_heads=2),
        StableSRAutoencoder(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, num_fuse_block=0),
    )
    for net in nets:
        net.to(dtype).eval()
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.1)
    return StableSRParts(*nets, prediction)


def text(batch=1):
    return torch.linspace(-1, 1, batch * 3 * CONTEXT, dtype=torch.float64).view(batch, 3, CONTEXT)


SMALL = {"tile": 4, "overlap": 2, "smallest": 16, "autoencoder_tile": 8, "autoencoder_overlap": 2, "steps": 2}


def run(image, parts, seed=0, **changes):
    return stablesr(image, parts, text(), noise=torch.Generator().manual_seed(seed), **SMALL | changes)


def test_the_schedule_is_linear_in_the_roots():
    betas = stablesr_process().betas
    assert math.isclose(betas[0], 0.00085) and math.isclose(betas[-1], 0.0120) and len(betas) == 1000
    torch.testing.assert_close(betas.sqrt().diff(), betas.sqrt().diff().mean().expand(999))


def test_times_go_from_the_last_step_to_the_clean_latent():
    assert stablesr_times(1) == [999, -1]
    assert stablesr_times(4) == [999, 666, 333, 0, -1]
    assert stablesr_times(1000) == [*range(999, -2, -1)]
    with pytest.raises(ValueError, match="from 1 to 1000 steps, got 1001"):
        stablesr_times(1001)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_the_samplers_are_the_respaced_schedules_own(sampler):
    """Steps by the betas of the shorter schedule, 1 - alpha_bar_i / alpha_bar_prev, written as its formulas are."""
    process, times = stablesr_process(), stablesr_times(7)
    torch.manual_seed(0)
    x0, x = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 4, 3, 3, dtype=torch.float64)
    draws = [torch.randn_like(x) for _ in times[1:]]

    def predict(x, t):
        return (x - 0.3 * x0).sin() * (1 + t / 1000)

    def denoise(x, t):
        return denoiser(lambda x, t: predict(x, t.view(-1, 1, 1, 1)), process)(x, t)

    step = ancestral(process) if sampler == "ancestral" else ddim(process)
    ours = sample(denoise, x, times, step, noise=draws)

    alpha_bar = process.alphas_cumprod
    for (t, r), noise in zip(pairwise(times), draws, strict=True):
        now, past = alpha_bar[t], alpha_bar[r] if r >= 0 else torch.tensor(1.0, dtype=torch.float64)
        eps = predict(x, t)
        clean = (x - (1 - now).sqrt() * eps) / now.sqrt()
        beta = 1 - now / past
        if sampler == "ancestral":
            mean = past.sqrt() * beta / (1 - now) * clean + (1 - beta).sqrt() * (1 - past) / (1 - now) * x
            x = mean + (beta * (1 - past) / (1 - now)).sqrt() * noise
        else:
            x = past.sqrt() * clean + (1 - past).sqrt() * eps
    torch.testing.assert_close(ours, x)


def test_tile_weights_lean_as_the_authors_have_them():
    weights = gaussian_tile_weights(8, 6, dtype=torch.float64)
    assert weights.shape == (6, 8)
    torch.testing.assert_close(weights, weights.flip(1))
    torch.testing.assert_close(weights[1:], weights[1:].flip(0))  # about row 3 of 0 to 5, not about 2.5
    assert weights.max() < 1 / (2 * math.pi * 0.01)


@pytest.mark.parametrize(("length", "expected"), [(16, [0]), (17, [0, 1]), (24, [0, 8]), (25, [0, 8, 9]), (40, [0, 8, 16, 24])])
def test_the_last_tile_is_moved_back(length, expected):
    assert tile_offsets(length, 16, 8) == expected


def test_tiles_that_agree_are_joined_without_a_trace():
    x = torch.rand(2, 3, 23, 37, dtype=torch.float64)
    torch.testing.assert_close(aggregate_tiles(lambda tile, *_: tile * 2, x, 16, 8), 2 * x)


def test_tiles_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="tiles of 16 do not fit into 15 samples; pad them first"):
        aggregate_tiles(lambda tile, *_: tile, torch.rand(1, 1, 15, 20), 16, 8)
    with pytest.raises(ValueError, match="larger than its overlap, got 8 and 8"):
        tile_offsets(20, 8, 8)
    with pytest.raises(ValueError, match="should be positive, got 4x0"):
        gaussian_tile_weights(0, 4)


def test_networks_are_told_the_original_times_and_tiles_are_guided_by_their_own_part(parts, monkeypatch):
    guide, x = torch.rand(1, 4, 4, 6, dtype=torch.float64), torch.rand(1, 4, 4, 6, dtype=torch.float64)
    seen, encode, predict = [], parts.guidance_encoder.forward, parts.unet.forward
    monkeypatch.setattr(parts.guidance_encoder, "forward", lambda z, t: seen.append((z.clone(), t)) or encode(z, t))
    monkeypatch.setattr(parts.unet, "forward", lambda z, t, *rest: seen.append((z.clone(), t)) or predict(z, t, *rest))
    denoise = stablesr_denoiser(parts, guide, text(), tile=4, overlap=2)
    with torch.no_grad():
        denoise(x, torch.tensor(666.0))
    assert all(float(t) == 666 for _, t in seen) and len(seen) == 4
    for place, (part, noisy) in enumerate(zip(seen[::2], seen[1::2], strict=True)):
        columns = slice(2 * place, 2 * place + 4)
        assert torch.equal(part[0], guide[..., columns]) and torch.equal(noisy[0], x[..., columns])


def test_a_negative_prompt_pushes_away(parts):
    guide, x = torch.rand(1, 4, 4, 4, dtype=torch.float64), torch.rand(1, 4, 4, 4, dtype=torch.float64)

    def denoised(context, **options):
        with torch.no_grad():
            return stablesr_denoiser(parts, guide, context, **options)(x, torch.tensor(400.0)).x0

    wanted, unwanted = denoised(text()), denoised(-text())
    expected = unwanted + 3 * (wanted - unwanted)  # the clean latent is linear in the noise
    torch.testing.assert_close(denoised(text(), negative=-text(), guidance=3.0), expected)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_perfect_prediction_restores_the_latent(prediction):
    """With a U-Net that knows the clean latent: what comes out is its decoded image."""
    parts = make_parts(prediction)
    clean, process = torch.randn(1, 4, 4, 4, dtype=torch.float64), stablesr_process()

    def predict(x, t, context, maps):
        a, s = (value.view(1, 1, 1, 1) for value in process.coefficients(t)[::2])
        eps = (x - a * clean) / s
        return eps if prediction == "eps" else a * eps - s * clean

    parts.unet.forward = predict
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    options = {"colour": None, "w": 0, "sampler": "ddim", "steps": 4}
    restored = run(image, parts, **options)
    expected = (parts.autoencoder.decode(clean / 0.18215).clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(restored, expected)


def test_the_whole_call_is_its_steps(parts):
    """On sizes that need no tiles: written out once more, with given noise."""
    torch.manual_seed(1)
    image = torch.rand(2, 3, 4, 6, dtype=torch.float64)
    draws = [torch.randn(2, 4, 4, 8, dtype=torch.float64) for _ in range(4)]
    context, autoencoder, process = text(2), parts.autoencoder, stablesr_process()
    with torch.no_grad():
        enlarged = 2 * resize(image, 4).clamp(0, 1) - 1
        padded = F.pad(enlarged, (0, 8, 0, 0), mode="reflect")  # to 16 x 32, multiples of 4 latents
        mean, log_variance = autoencoder.moments(padded).chunk(2, 1)
        guide = 0.18215 * (mean + (log_variance.clamp(-30, 20) / 2).exp() * draws[0])
        a, s = process.alphas_cumprod[-1].sqrt(), (1 - process.alphas_cumprod[-1]).sqrt()
        x = a * guide + s * draws[1]
        for (t, r), noise in zip(pairwise([999, 0, -1]), draws[2:], strict=True):
            times = torch.full((2,), float(t), dtype=torch.float64)
            eps = parts.unet(x, times, context, parts.guidance_encoder(guide, times))
            a, _, s = process.coefficients(t)
            posterior = process.posterior(x, (x - s * eps) / a, t, r)
            x = posterior.mean + posterior.std * noise
        decoded = autoencoder.decode(x / 0.18215, padded, 0.7)[..., :24]
        expected = (adain(decoded, enlarged).clamp(-1, 1) + 1) / 2
    options = {**SMALL, "tile": None, "autoencoder_tile": None}
    torch.testing.assert_close(stablesr(image, parts, context, w=0.7, noise=draws, **options), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 2)])
@pytest.mark.parametrize(
    "options",
    [{}, {"scale": 2.5, "sampler": "ddim", "eta": 1.0, "colour": "wavelet"}, {"colour": None, "w": 0, "posterior": False}],
    ids=["defaults", "ddim", "plain"],
)
def test_any_size_comes_out_enlarged(parts, size, options):
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    scale = options.get("scale", 4)
    result = run(image, parts, **options)
    assert result.shape[-2:] == tuple(round(scale * side) for side in size)
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


def test_the_generator_alone_decides(parts):
    image = torch.rand(1, 3, 5, 5, dtype=torch.float64)
    state = torch.random.get_rng_state()
    first, again, other = run(image, parts), run(image, parts), run(image, parts, seed=1)
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_networks_see_no_more_than_a_tile(parts):
    coder = parts.autoencoder
    nets = {"unet": parts.unet, "maps": parts.guidance_encoder, "encoder": coder.encoder, "decoder": coder.decoder}
    seen = {name: set() for name in nets}

    def watch(name):
        return lambda module, inputs: seen[name].update(inputs[0].shape[-2:])

    hooks = [net.register_forward_pre_hook(watch(name)) for name, net in nets.items()]
    run(torch.rand(1, 3, 7, 13, dtype=torch.float64), parts, steps=1)
    for hook in hooks:
        hook.remove()
    assert {name: max(sides) for name, sides in seen.items()} == {"unet": 4, "maps": 4, "encoder": 32, "decoder": 8}


def test_single_precision_networks_take_and_give_the_images_type():
    parts = make_parts(dtype=torch.float32)
    image = torch.rand(1, 3, 4, 4)
    assert run(image, parts).dtype == torch.float32
    assert run(image.double(), parts).dtype == torch.float64
    half = StableSRParts(*(net.bfloat16() for net in (parts.unet, parts.guidance_encoder, parts.autoencoder)))
    result = run(image.bfloat16(), half, colour="wavelet")
    assert result.dtype == torch.bfloat16 and result.isfinite().all()


def test_what_lies_outside_the_range_is_clipped_with_a_warning(parts):
    image = torch.rand(1, 3, 9, 8, dtype=torch.float64)
    beyond = image * 1.5 - 0.1
    with pytest.warns(UserWarning, match=r"values from -0\.\d+ to 1\.\d+, and what lies outside 0 to 1 is clipped") as told:
        restored = run(beyond, parts)
    assert len(told) == 1 and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(restored, run(beyond.clamp(0, 1), parts))
    image[0, 0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="the image has NaN or infinity"):
        run(image, parts)


@pytest.mark.parametrize("steps", [1.5, True, "9"])
def test_steps_are_whole(steps):
    with pytest.raises(ValueError, match="whole number from 1 to 1000, got"):
        stablesr_times(steps)


def test_a_plain_autoencoder_serves_without_wrapping(parts):
    kl = (
        KLAutoencoder(
            block_out_channels=(32,) * 3, down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3
        )
        .double()
        .eval()
    )
    plain = StableSRParts(parts.unet, parts.guidance_encoder, kl)
    assert run(torch.rand(1, 3, 3, 3, dtype=torch.float64), plain, w=0).shape == (1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"a KLAutoencoder has no feature wrapping for w=0.5; pass w=0"):
        run(torch.rand(1, 3, 3, 3, dtype=torch.float64), plain)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((1, 1, 4, 4), {}, r"expects RGB images \(b, 3, h, w\) .* repeat the channel of a grey one"),
        ((3, 4, 4), {}, "expects RGB images"),
        ((1, 3, 0, 4), {}, r"the image is empty: \(1, 3, 0, 4\)"),
        ((1, 3, 4, 4), {"scale": 0}, "scale and smallest should be positive, got 0"),
        ((1, 3, 4, 4), {"sampler": "heun"}, "unknown sampler 'heun'; choose 'ancestral' or 'ddim'"),
        ((1, 3, 4, 4), {"colour": "lab"}, "unknown colour correction 'lab'"),
        ((1, 3, 4, 4), {"steps": 0}, "from 1 to 1000 steps, got 0"),
        ((1, 3, 4, 4), {"sampler": "ddim", "eta": 2}, r"eta in \[0, 1\], got 2"),
        ((1, 3, 8, 8), {"w": float("nan")}, "w should be a number from 0 to 1, got nan"),
    ],
)
def test_what_cannot_be_is_refused_in_words(parts, shape, options, words):
    with pytest.raises(ValueError, match=words):
        run(torch.rand(*shape, dtype=torch.float64), parts, **options)


def test_parts_that_do_not_belong_together_are_refused(parts):
    other = StableSRAutoencoder(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, embed_dim=8)
    with pytest.raises(ValueError, match="share the channels of latents, got 8, 4 and 4"):
        StableSRParts(parts.unet, parts.guidance_encoder, other)
    with pytest.raises(ValueError, match="prediction should be 'eps' or 'v', got 'x0'"):
        StableSRParts(parts.unet, parts.guidance_encoder, parts.autoencoder, "x0")
