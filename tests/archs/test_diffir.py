"""DiffIR's two stages; tests/test_goldens_archs.py holds them against the reference."""

import random
import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from outline import outline

from restoralib import restore
from restoralib.archs.diffir import VARIANTS, DiffIRS1, DiffIRS2, infer_config, reverse_chain
from restoralib.archs.restormer import Restormer
from restoralib.checkpoints import CheckpointWarning, load_model, skeleton
from restoralib.ops.schedules import sqrt_linear_betas

TINY = {"n_encoder_res": 1, "dim": 4, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 1, 2, 2)}
SCALES = {1: {"variant": "sr", "scale": 1}, 2: {"variant": "sr", "scale": 2}, 4: {"variant": "sr", "scale": 4}}
KINDS = {"deblur": {"variant": "deblur"}, **{f"sr x{scale}": config for scale, config in SCALES.items()}}
MULTIPLES = {"deblur": 8, "sr x4": 8, "sr x2": 16, "sr x1": 32}
every_kind = pytest.mark.parametrize("kind", KINDS)


def tiny(cls=DiffIRS2, **config):
    torch.manual_seed(0)
    net = cls(**(TINY | config)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize(
    ("name", "parameters", "keys"),
    [
        ("gopro", 26_911_934, 588),
        ("real_x4", 24_971_206, 615),
        ("srgan_x4", 24_971_206, 615),
        ("real_x2", 24_981_574, 615),
        ("real_x1", 25_023_046, 615),
        ("s1_gopro", 26_742_206, None),
        ("s1_real_x4", 24_801_478, None),
        ("s1_srgan_x4", 24_801_478, None),
        ("s1_real_x2", 24_811_846, None),
        ("s1_real_x1", 24_853_318, None),
    ],
)
def test_published_variants(name, parameters, keys):
    variant = VARIANTS[f"diffir_{name}"]
    net = outline(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert keys in (None, len(net.state_dict()))
    told = infer_config(net.state_dict())
    assert told.cls is variant.cls and told.config == variant.config
    assert set(variant.tasks) <= set(net.spec.tasks)


def test_parts_of_the_deblurring_network_are_as_large_as_the_authors():
    net = skeleton(DiffIRS2, VARIANTS["diffir_gopro"].config)
    sizes = {name: sum(p.numel() for p in net.get_submodule(name).parameters()) for name in ("G", "condition", "denoise")}
    assert sizes == {"G": 25_669_374, "condition": 1_045_184, "denoise": 197_376}


@pytest.mark.parametrize(
    ("kind", "image", "both"), [("deblur", 48, 96), ("sr x4", 3, 51), ("sr x2", 12, 60), ("sr x1", 48, 96)]
)
def test_cpen_sees_unshuffled_images(kind, image, both):
    assert skeleton(DiffIRS2, TINY | KINDS[kind]).condition.E[0].in_channels == image
    assert skeleton(DiffIRS1, TINY | KINDS[kind]).E.E[0].in_channels == both


@every_kind
def test_images_are_padded_by_reflection(kind):
    net, noise, multiple = tiny(**KINDS[kind]), torch.randn(1, 256), MULTIPLES[kind]
    assert net.spec.multiple == multiple
    image = torch.rand(1, 3, multiple - 3, multiple + 1)
    padded = F.pad(image, (0, multiple - 1, 0, 3), mode="reflect")
    height, width = (net.spec.scale * side for side in image.shape[2:])
    assert torch.equal(net(image, noise), net(padded, noise)[..., :height, :width])
    for ours, theirs in zip(net.diffusion(image, noise).steps, net.diffusion(padded, noise).steps, strict=True):
        assert torch.equal(ours[1], theirs[1])


@every_kind
def test_stage_1_takes_the_clean_image_at_its_own_size(kind):
    net = tiny(DiffIRS1, **KINDS[kind])
    image = torch.rand(1, 3, 9, 10)
    target = torch.rand(1, 3, 9 * net.spec.scale, 10 * net.spec.scale)
    assert net(image, target).shape == target.shape
    assert not torch.equal(net.prior(image, target), net.prior(image, 1 - target))
    with pytest.raises(ValueError, match=r"the target should be .* for an image \(1, 3, 9, 10\), got \(1, 3, 5, 5\)"):
        net(image, torch.rand(1, 3, 5, 5))


def test_the_prior_modulates_the_features_after_the_norm():
    block = tiny().G.latent[0]
    x, prior = torch.randn(1, 32, 4, 4), torch.randn(1, 256)
    attention = block.attn
    scale, shift = (prior @ attention.kernel[0].weight.T)[..., None, None].chunk(2, dim=1)
    attention.qkv.register_forward_pre_hook(
        lambda _, inputs: torch.testing.assert_close(inputs[0], block.norm1(x) * scale + shift)
    )
    block(x, prior)


def test_super_resolution_is_added_to_repeated_pixels():
    net = tiny(**SCALES[4])
    for parameter in net.G.tail.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.rand(1, 3, 5, 6)
    assert torch.equal(net(image), image.repeat_interleave(4, 2).repeat_interleave(4, 3))


# The diffusion


def test_an_outline_needs_no_compiler():
    """Files are checked against outlines, and importing the compiler takes seconds."""
    code = (
        "import sys, torch; from restoralib.archs import DiffIRS2; from restoralib.checkpoints import skeleton; "
        "net = skeleton(DiffIRS2, {}); assert net.diffusion.betas.is_meta; sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_schedule_is_the_authors():
    net = tiny()
    assert net.diffusion.betas.dtype == torch.float32
    expected = {
        "betas": [0.1, 0.29428563, 0.59095228, 0.99],
        "alphas_cumprod": [0.9, 0.63514292, 0.25980377, 0.0025980377],
        "alphas_cumprod_prev": [1, 0.9, 0.63514292, 0.25980377],
        "posterior_mean_coef1": [1, 0.76518691, 0.63626975, 0.50592679],
        "posterior_mean_coef2": [0, 0.23024580, 0.31525564, 0.07421243],
        "posterior_variance": [0, 0.08065779, 0.29129183, 0.73470306],
    }
    for name, values in expected.items():
        torch.testing.assert_close(net.diffusion.get_buffer(name), torch.tensor(values), rtol=1e-6, atol=1e-8)
    kept = net.diffusion.alphas_cumprod
    derived = {
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_log_variance_clipped": net.diffusion.posterior_variance.clamp_min(1e-20).log(),
    }
    for name, values in derived.items():
        torch.testing.assert_close(net.diffusion.get_buffer(name), values)


def test_a_step_goes_to_the_mean_of_gaussians():
    """Bayes' rule by precisions: x_t given x_(t-1), and x_(t-1) given the clean prior."""
    betas = sqrt_linear_betas(4, 0.1, 0.99)
    kept = torch.cumprod(1 - betas, 0)
    diffusion = tiny().diffusion
    clean, x = torch.tensor(0.7), torch.tensor(-1.3)
    trajectory = reverse_chain(lambda x, time: clean, x, diffusion.posterior_mean_coef1, diffusion.posterior_mean_coef2)
    for time, (predicted, after) in zip((3, 2, 1), trajectory, strict=False):
        before = kept[time - 1]
        precision = (1 - betas[time]) / betas[time] + 1 / (1 - before)
        mean = ((1 - betas[time]).sqrt() * x / betas[time] + before.sqrt() * clean / (1 - before)) / precision
        assert predicted == clean
        torch.testing.assert_close(after.double(), mean, rtol=1e-5, atol=0)
        x = after
    assert len(trajectory) == 4 and trajectory[-1][1] == clean


def test_the_denoiser_sees_condition_time_and_prior():
    net, seen = tiny(), []
    net.denoise.resmlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noise = torch.randn(2, 256)
    condition, steps = net.diffusion(torch.rand(2, 3, 8, 8), noise)
    assert all(torch.equal(given[:, :256], condition) for given in seen)
    torch.testing.assert_close(torch.stack([given[0, 256] for given in seen]), torch.tensor([0.075, 0.05, 0.025, 0]))
    for given, before in zip(seen, (noise, *(after for _, after in steps[:-1])), strict=True):
        assert torch.equal(given[:, 257:], before)
    assert torch.equal(*steps[-1])  # the last step ends in the prediction itself


def test_noise_is_drawn_where_none_is_given():
    net, images = tiny(), torch.rand(2, 3, 9, 8)
    torch.manual_seed(3)
    drawn = net(images)
    torch.manual_seed(3)
    noise = torch.randn(2, 256)
    assert torch.equal(net(images, noise), drawn)
    assert not torch.equal(net(images), drawn)
    torch.testing.assert_close(net(images, noise[:1]), net(images, noise[:1].expand(2, -1)))
    torch.testing.assert_close(net(images, noise)[1:], net(images[1:], noise[1:]), rtol=1e-4, atol=1e-4)


def test_training_begins_with_the_prior_of_stage_1():
    stage1, stage2 = tiny(DiffIRS1), tiny().train()
    image, target, noise = torch.rand(2, 3, 8, 16), torch.rand(2, 3, 8, 16), torch.randn(2, 256)
    prior = stage1.prior(image, target).detach()
    restored, priors = stage2(image, noise, prior)
    kept = stage2.diffusion.alphas_cumprod[-1]
    start = kept.sqrt() * prior + (1 - kept).sqrt() * noise
    steps = stage2.diffusion(image, start).steps
    assert len(priors) == 4
    for ours, (_, after) in zip(priors, steps, strict=True):
        torch.testing.assert_close(ours, after)
    torch.testing.assert_close(restored, stage2.eval()(image, start))
    torch.testing.assert_close(restored, stage2(image, noise, prior))
    priors[-1].abs().mean().backward()
    trained = {key for key, parameter in stage2.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert trained == {key for key, _ in stage2.named_parameters() if key.startswith(("condition.", "denoise."))}


def test_training_without_a_prior_is_refused():
    with pytest.raises(ValueError, match=r"pass prior=DiffIRS1.prior\(image, target\), or call eval"):
        tiny().train()(torch.rand(1, 3, 8, 8))


# Weights


def test_the_diffusion_holds_the_same_tensors_under_other_names():
    state = tiny().state_dict()
    for key in state:
        if key.startswith("diffusion.condition."):
            assert state[key].data_ptr() == state[key.removeprefix("diffusion.")].data_ptr()
        if key.startswith("diffusion.model."):
            assert state[key].data_ptr() == state[key.replace("diffusion.model", "denoise")].data_ptr()


def test_the_second_copy_counts(tmp_path):
    net = tiny()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    state["condition.E.0.bias"] += 1
    state["denoise.resmlp.0.bias"] += 1
    torch.save({"params_ema": state}, tmp_path / "net.pth")
    loaded, image, noise = load_model(tmp_path / "net.pth"), torch.rand(1, 3, 8, 8), torch.randn(1, 256)
    assert torch.equal(loaded(image, noise), net(image, noise))


def test_a_file_tells_its_schedule(tmp_path):
    config = {"linear_start": 0.2, "linear_end": 0.75, "timesteps": 3}
    net = tiny(**config)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(tmp_path / "net.pth")
    assert torch.equal(loaded.diffusion.betas, net.diffusion.betas)
    told = infer_config(net.state_dict())
    assert told.config.items() >= config.items() and not told.assumed


def test_without_a_schedule_the_published_one_is_assumed(tmp_path):
    net = tiny()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith(net.derived_suffixes)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.warns(CheckpointWarning) as warned:
        loaded = load_model(tmp_path / "net.pth")
    assert {str(warning.message).partition(";")[0] for warning in warned} == {
        f"no weight tells {argument}" for argument in ("linear_start", "linear_end", "timesteps")
    }
    assert torch.equal(loaded.diffusion.betas, net.diffusion.betas)
    other = load_model(tmp_path / "net.pth", timesteps=6, linear_start=0.1, linear_end=0.9)
    assert len(other.diffusion.betas) == 6


@pytest.mark.parametrize("betas", [[0.5, 0.1], [float("nan"), 0.5], [0.1, 0.9, 0.99], [-1.0, 2.0]])
def test_values_that_are_no_such_schedule_tell_only_its_length(betas):
    told = infer_config(tiny().state_dict() | {"diffusion.betas": torch.tensor(betas)})
    assert told.config["timesteps"] == len(betas) and set(told.assumed) == {"linear_start", "linear_end"}


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        cls = draw.choice([DiffIRS1, DiffIRS2])
        config = {
            "n_encoder_res": draw.randint(0, 3),
            "inp_channels": (channels := draw.choice([1, 3])),
            "out_channels": channels,
            "dim": draw.choice([8, 16, 48]),
            "num_blocks": tuple(draw.choice([1, 1, 1, 2]) for _ in range(4)),
            "num_refinement_blocks": draw.randint(0, 2),
            "heads": tuple(draw.choice([1, 2, 4, 8]) for _ in range(4)),
            "ffn_expansion_factor": draw.choice([1, 2, 2.2, 2.66, 3]),
            "bias": draw.random() < 0.5,
            "LayerNorm_type": draw.choice(["WithBias", "BiasFree"]),
            **KINDS[draw.choice([*KINDS])],
        }
        if cls is DiffIRS2:
            config |= {"n_denoise_res": draw.randint(0, 3), "timesteps": draw.randint(1, 8)}
            config |= {"linear_start": 0.1, "linear_end": 0.99}
        told = infer_config(skeleton(cls, config).state_dict())
        assert told.cls is cls and told.config == config


def test_other_networks_are_not_taken_for_it():
    assert infer_config(skeleton(Restormer, {"dim": 8}).state_dict()) is None
    assert infer_config({}) is None
    first, second = (skeleton(cls, TINY).state_dict() for cls in (DiffIRS1, DiffIRS2))
    assert infer_config(first | second) is None
    assert infer_config(second | {"G.output.weight": torch.zeros(4, 8, 3, 3)}) is None  # the inpainting network
    assert infer_config(second | {"G.refinement.0.prompt": torch.zeros(1)}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"variant": "inpaint"}, "variant should be 'deblur' or 'sr', got 'inpaint'"),
        ({"scale": 4}, "a network for deblurring does not enlarge, got scale 4; leave it out, or say variant='sr'"),
        ({"variant": "sr", "scale": 3}, "scale should be 1, 2 or 4, got 3"),
        ({"inp_channels": 4}, "4 channels in and 3 out do not fit"),
        ({"dim": 7}, "dim should be even, got 7"),
        ({"num_blocks": (1, 1, 1)}, "four positive numbers"),
        ({"heads": (3, 2, 4, 8)}, "3 heads do not divide 4 channels"),
        ({"LayerNorm_type": "withbias"}, "LayerNorm_type should be one of WithBias, BiasFree, got 'withbias'"),
        ({"n_encoder_res": -1}, "n_encoder_res should be at least 0, got -1"),
        ({"num_refinement_blocks": -1}, "num_refinement_blocks should be at least 0, got -1"),
        ({"ffn_expansion_factor": 0.2}, "the feed-forward should be a channel wide or more, got 0.2 times 4"),
    ],
)
@pytest.mark.parametrize("cls", [DiffIRS1, DiffIRS2])
def test_impossible_arguments_are_named(cls, config, message):
    with pytest.raises(ValueError, match=message):
        cls(**(TINY | config))


def test_a_denoiser_has_a_first_layer():
    with pytest.raises(ValueError, match="n_denoise_res should be at least 0, got -1"):
        DiffIRS2(**TINY, n_denoise_res=-1)


@pytest.mark.parametrize("shape", [(256,), (2, 256), (1, 1), (3, 100)])
@pytest.mark.parametrize("name", ["noise", "prior"])
def test_vectors_of_another_shape_are_refused(name, shape):
    words = rf"{name} should be of shape \(3, 256\) or \(1, 256\), got \({', '.join(map(str, shape))}"
    with pytest.raises(ValueError, match=words):
        tiny()(torch.rand(3, 3, 8, 8), **{name: torch.zeros(shape)})


# restore()


@pytest.mark.filterwarnings("ignore:the model's result spans")  # of random weights
@pytest.mark.parametrize("batch", [1, 3])
def test_all_tiles_of_an_image_get_the_same_noise(batch):
    net, seen = tiny(), []

    def record(_, inputs, keywords):
        seen.append((len(inputs[0]), keywords["noise"].clone()))

    net.register_forward_pre_hook(record, with_kwargs=True)
    images = torch.rand(2, 3, 40, 70)
    state = torch.get_rng_state()
    for seed in (1, 1, 2):
        restore(images, net, tile=32, batch=batch, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    runs = [seen[start : start + len(seen) // 3] for start in range(0, len(seen), len(seen) // 3)]
    rows = [torch.cat([noise for _, noise in run]) for run in runs]
    assert all(noise.shape == (tiles, 256) for tiles, noise in seen)
    assert len(rows[0].unique(dim=0)) == 2  # one for each image
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model's result spans")
@pytest.mark.parametrize("kind", ["deblur", "sr x2"])
def test_exact_tiles_give_the_whole_result(kind):
    net = tiny(**KINDS[kind], n_encoder_res=0).double()
    tile, width = {"deblur": (176, 200), "sr x2": (400, 440)}[kind]
    image = torch.rand(1, 3, 24, width).double()
    state = torch.get_rng_state()
    whole = restore(image, net, dtype="float64", tile=None, seed=0)
    exact = restore(image, net, dtype="float64", tile=tile, seed=0, exact=True)
    assert (exact - whole).abs().max() <= 1e-10
    assert torch.equal(torch.get_rng_state(), state)
