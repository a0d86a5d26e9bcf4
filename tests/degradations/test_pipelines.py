"""The pipelines: their order and their chances, sizes, and records that rebuild the pair."""

import json
import math
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from restoralib.degradations import (
    FIXED_GRID,
    JPEG,
    PAIRED_TASKS,
    SECOND_STAGE,
    BlurDecimate,
    BSRGANDegradation,
    CameraNoise,
    Chain,
    CorrelatedNoise,
    Degradation,
    DiffJPEG,
    Downsample,
    GaussianBlur,
    GaussianNoise,
    Interpolate,
    PairedDegradation,
    PoissonNoise,
    RealESRGANDegradation,
    SincBlur,
    degraded_pair,
    draw_task,
    filter2d,
    interpolate,
    rebuild,
    record,
    usm_sharpen,
)
from restoralib.ops import resize
from restoralib.zoo import TASKS

PIPELINES = [RealESRGANDegradation, BSRGANDegradation, PairedDegradation]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photograph(*shape: int) -> Tensor:
    """Smooth colours with edges, in [0, 1]."""
    b, c, h, w = shape
    noise = torch.rand(b, c, h // 6 + 2, w // 6 + 2, generator=generator(5))
    smooth = torch.nn.functional.interpolate(noise, (h, w), mode="bilinear")
    return (0.8 * smooth + 0.2 * (smooth > 0.5)).clamp(0, 1)


@pytest.mark.parametrize("kind", PIPELINES)
def test_records_rebuild_the_pair(kind):
    image = photograph(1, 3, 41, 52)
    for seed in range(6):
        degradation = kind.draw(generator(seed))
        again = rebuild(json.loads(json.dumps(record(degradation))))
        assert again == degradation == kind.draw(generator(seed))
        assert torch.equal(again(image), degradation(image))
    assert len({kind.draw(generator(seed)) for seed in range(20)}) == 20


def test_records_refuse_a_field_that_would_hide_the_class():
    @dataclass(frozen=True)
    class Shade(Degradation):
        kind: str = "soft"

        def __call__(self, image):
            return image

        @classmethod
        def draw(cls, generator):
            return cls()

    with pytest.raises(TypeError, match="Shade has a field 'kind'"):
        record(Shade())
    with pytest.raises(TypeError, match="Shade has a field 'kind'"):
        record(Chain((Shade(),)))
    with pytest.raises(ValueError, match=r"expected a record, a mapping .* got list"):
        rebuild([1])


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("shape", [(2, 3, 33, 26), (1, 1, 20, 17), (1, 3, 1, 1), (1, 1, 2, 5)])
def test_any_size_gives_a_picture_in_range(kind, shape):
    image = photograph(*shape)
    scale = 1 if kind is PairedDegradation else 4
    for seed in range(4):
        degraded = kind.draw(generator(seed))(image)
        assert degraded.shape == (*shape[:2], max(shape[2] // scale, 1), max(shape[3] // scale, 1))
        assert 0 <= degraded.min() <= degraded.max() <= 1


@pytest.mark.parametrize("kind", PIPELINES)
def test_types_are_kept_and_random_state_is_left_alone(kind):
    image, state = photograph(1, 3, 24, 24), torch.get_rng_state()
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert kind.draw(generator(1))(image.to(dtype)).dtype == dtype
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="one or three channels"):
        kind()(torch.rand(3, 8, 8))
    with pytest.raises(TypeError, match="floating point"):
        kind()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("kind", [RealESRGANDegradation, BSRGANDegradation])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_other_scales(kind, scale):
    image = photograph(1, 3, 31, 40)
    degraded = kind.draw(generator(2), scale=scale)(image)
    assert degraded.shape[-2:] == (31 // scale, 40 // scale)
    with pytest.raises(ValueError, match="scale"):
        kind(scale=0)(image)


@pytest.mark.parametrize("kind", [RealESRGANDegradation, BSRGANDegradation])
@pytest.mark.parametrize("scale", [0, -1, -4])
def test_other_scales_are_named_when_they_are_drawn(kind, scale):
    for seed in range(8):
        with pytest.raises(ValueError, match=r"scale of a reduction should be at least 1, got -?[0-9]"):
            kind.draw(generator(seed), scale=scale)


# Real-ESRGAN.


def test_the_reference_order_of_steps():
    image = photograph(1, 3, 50, 61)
    degradation = RealESRGANDegradation(
        blur=SincBlur(9, 1.5),
        resize=Interpolate(0.7, "bicubic", aligned=False),
        noise=GaussianNoise(20, seed=1),
        jpeg=DiffJPEG(60),
        second_blur=GaussianBlur(size=11, sigma=1.0),
        second_resize=Interpolate(1.1, "area"),
        second_noise=PoissonNoise(1.5, seed=2),
        second_jpeg=DiffJPEG(70),
        last_mode="bilinear",
        last_blur=SincBlur(13, 2.0),
    )
    out = filter2d(usm_sharpen(image), SincBlur(9, 1.5).kernel())
    out = torch.nn.functional.interpolate(out, scale_factor=0.7, mode="bicubic")
    out = DiffJPEG(60)(GaussianNoise(20, seed=1)(out))
    out = GaussianBlur(size=11, sigma=1.0)(out)
    out = interpolate(out, size=(int(50 / 4 * 1.1), int(61 / 4 * 1.1)), mode="area")
    noisy = PoissonNoise(1.5, seed=2)(out)
    small = filter2d(interpolate(noisy, size=(12, 15), mode="bilinear"), SincBlur(13, 2.0).kernel())
    last = (DiffJPEG(70)(small.clamp(0, 1)) * 255).round() / 255
    assert torch.equal(degradation(image), last)

    first = RealESRGANDegradation(**(vars(degradation) | {"jpeg_last": False}))
    small = filter2d(interpolate(DiffJPEG(70)(noisy), size=(12, 15), mode="bilinear"), SincBlur(13, 2.0).kernel())
    assert torch.equal(first(image), (small * 255).round().clamp(0, 255) / 255)


def test_without_any_step_it_only_reduces():
    image = photograph(1, 3, 40, 40)
    plain = RealESRGANDegradation(sharpen=False, last_mode="area")(image)
    assert torch.allclose(plain, torch.nn.functional.avg_pool2d(image, 4), atol=0.5 / 255 + 1e-6)
    assert torch.equal(RealESRGANDegradation(sharpen=False).target(image), image)
    assert not torch.equal(RealESRGANDegradation().target(image), image)


def test_draws_keep_to_real_esrgans_ranges_and_chances():
    draws = [RealESRGANDegradation.draw(generator(seed)) for seed in range(600)]
    share = {
        "sinc": sum(isinstance(draw.blur, SincBlur) for draw in draws) / 600,
        "second blur": sum(draw.second_blur is not None for draw in draws) / 600,
        "gaussian": sum(isinstance(draw.noise, GaussianNoise) for draw in draws) / 600,
        "gray": sum(draw.second_noise.gray for draw in draws) / 600,
        "down": sum(draw.resize.scale < 1 for draw in draws) / 600,
        "keep": sum(draw.second_resize.scale == 1 for draw in draws) / 600,
        "last sinc": sum(draw.last_blur is not None for draw in draws) / 600,
        "jpeg last": sum(draw.jpeg_last for draw in draws) / 600,
    }
    wanted = {"sinc": 0.1, "second blur": 0.8, "gaussian": 0.5, "gray": 0.4, "down": 0.7, "keep": 0.3, "last sinc": 0.8}
    for name, chance in (wanted | {"jpeg last": 0.5}).items():
        assert share[name] == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600)), name
    for draw in draws:
        assert 0.15 <= draw.resize.scale <= 1.5 and 0.3 <= draw.second_resize.scale <= 1.2
        assert 30 <= draw.jpeg.quality <= 95 and 30 <= draw.second_jpeg.quality <= 95
        for noise, sigma, scale in ((draw.noise, 30, 3), (draw.second_noise, 25, 2.5)):
            if isinstance(noise, GaussianNoise):
                assert 1 <= noise.sigma <= sigma
            else:
                assert 0.05 <= noise.scale <= scale and noise.vals is None
        for blur, sigma in ((draw.blur, 3), (draw.second_blur, 1.5)):
            assert blur is None or (7 <= blur.size <= 21 and blur.size % 2)
            if isinstance(blur, GaussianBlur):
                assert 0.2 <= blur.sigma <= sigma and blur.roughness == 0
            elif blur is not None:
                assert (math.pi / 3 if blur.size < 13 else math.pi / 5) <= blur.cutoff <= math.pi
        assert draw.last_blur is None or math.pi / 3 <= draw.last_blur.cutoff <= math.pi
    kinds = Counter(draw.blur.shape for draw in draws if isinstance(draw.blur, GaussianBlur))
    assert set(kinds) == {"iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"}
    assert {draw.last_mode for draw in draws} == {"area", "bilinear", "bicubic"}


def test_other_ranges_can_be_drawn_from():
    from dataclasses import replace

    calm = replace(SECOND_STAGE, blurred=0.0, gaussian=1.0, noise_sigma=(1.0, 2.0), quality=(90.0, 95.0))
    for seed in range(20):
        draw = RealESRGANDegradation.draw(generator(seed), first=calm, second=calm, last_sinc=0.0)
        assert draw.blur is None and draw.last_blur is None
        assert draw.noise.sigma <= 2 and draw.jpeg.quality >= 90


# BSRGAN.


def test_draws_keep_to_bsrgans_rules():
    draws = [BSRGANDegradation.draw(generator(seed)) for seed in range(600)]
    counts = Counter()
    for draw in draws:
        steps = [*draw.before, *draw.after]
        halved = bool(draw.before) and (draw.before[0] in [Downsample(2.0), *(Interpolate(0.5, m) for m in MODES)])
        scale = 2 if halved else 4
        reductions = [step for step in draw.before[halved:] if isinstance(step, Interpolate | BlurDecimate)]
        assert len(reductions) == 1 and not any(isinstance(step, Interpolate | BlurDecimate) for step in draw.after)
        assert sum(isinstance(step, GaussianBlur) for step in steps) == 2
        noises = [step for step in steps if isinstance(step, GaussianNoise | CorrelatedNoise)]
        assert len(noises) == 1
        assert isinstance(draw.after[-1], JPEG) and all(30 <= s.quality <= 95 for s in steps if isinstance(s, JPEG))
        for blur in (step for step in steps if isinstance(step, GaussianBlur)):
            assert 7 <= blur.size <= 25 and blur.size % 2
            assert blur.sigma <= (math.sqrt(4 + scale) if blur.shape == "aniso" else 2 + 0.2 * scale)
        if isinstance(noises[0], GaussianNoise):
            assert 2 <= noises[0].sigma <= 25 and noises[0].sigma == int(noises[0].sigma)
        if isinstance(reductions[0], Interpolate):
            assert 1 / (2 * scale) <= reductions[0].scale <= 1
        counts["halved"] += halved
        counts["resized"] += isinstance(reductions[0], Interpolate)
        counts["compressed"] += sum(isinstance(step, JPEG) for step in steps) == 2
        counts["camera"] += sum(isinstance(step, CameraNoise) for step in steps)
        counts["gray"] += isinstance(noises[0], GaussianNoise) and noises[0].gray
        counts["correlated"] += isinstance(noises[0], CorrelatedNoise)
        counts["stretched"] += sum(step.shape == "aniso" for step in steps if isinstance(step, GaussianBlur)) / 2
        counts["noise first"] += any(step is noises[0] for step in draw.before)
    wanted = {"halved": 0.25, "resized": 0.75, "compressed": 0.9, "camera": 0.25, "gray": 0.4, "correlated": 0.2}
    # Of three things in any order, the later of the two reductions comes after the noise in two cases of three.
    for name, chance in (wanted | {"stretched": 0.5, "noise first": 2 / 3}).items():
        assert counts[name] / 600 == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600)), name
    assert not any(isinstance(BSRGANDegradation.draw(generator(s), scale=2).before[:1], Downsample) for s in range(20))


MODES = ("bilinear", "bicubic", "coverage")


def test_bsrgans_target_is_cut_to_a_multiple_of_the_scale():
    image = photograph(1, 3, 31, 42)
    degradation = BSRGANDegradation(mode="coverage")
    assert degradation.target(image).shape == (1, 3, 28, 40)
    assert degradation.target(image[..., :3, :]).shape == (1, 3, 3, 40)
    assert torch.allclose(degradation(image), torch.nn.functional.avg_pool2d(image, 4)[..., :7, :10], atol=1e-6)


def test_reductions_leave_things_where_they_are():
    image = torch.linspace(0.1, 0.9, 64).expand(1, 3, 64, 64).contiguous()
    for before in ((), (Downsample(2.0),), (Interpolate(0.5, "bicubic"),), (BlurDecimate(4, 1.2, 25),), (Interpolate(0.7),)):
        small = BSRGANDegradation(before=before, mode="bilinear")(image)
        exact = torch.nn.functional.avg_pool2d(image, 4)
        assert (small - exact)[..., 4:-4].abs().max() < 6e-3, before


# The mission's pairs.


def test_every_task_can_be_drawn_and_keeps_the_size():
    image = photograph(1, 3, 30, 44)
    for task in (*PAIRED_TASKS, "resize", "color", "deflare", "dereflect", "deraindrop"):
        degraded = draw_task(task, generator(1))(image)
        assert degraded.shape == image.shape
        assert not torch.equal(degraded, image), task
    assert set(PAIRED_TASKS) <= set(TASKS) and len(PAIRED_TASKS) == 9
    with pytest.raises(ValueError, match="unknown task 'sharpen'; choose among denoise"):
        draw_task("sharpen", generator())


def test_one_to_three_tasks_without_repetition_all_equally_likely():
    draws = [PairedDegradation.draw(generator(seed)) for seed in range(900)]
    assert all(len(set(draw.tasks)) == len(draw.tasks) == len(draw.steps) for draw in draws)
    counts = Counter(len(draw.tasks) for draw in draws)
    assert set(counts) == {1, 2, 3} and min(counts.values()) > 240
    tasks = Counter(task for draw in draws for task in draw.tasks)
    assert set(tasks) == set(PAIRED_TASKS) and min(tasks.values()) > 150 and max(tasks.values()) < 250


def test_steps_are_done_in_the_drawn_order():
    image = photograph(1, 3, 20, 20)
    noise, codec = GaussianNoise(30, seed=1), JPEG(20)
    assert torch.equal(PairedDegradation(("denoise", "jpeg"), (noise, codec))(image), codec(noise(image)))
    assert torch.equal(PairedDegradation()(image), image)


def test_a_pair_comes_with_what_was_done_to_it():
    clean = photograph(2, 3, 24, 31)
    pair = degraded_pair(clean, generator(4), tasks=("jpeg", "denoise"), count=(2, 2))
    assert pair.clean is clean and set(pair.record["tasks"]) == {"jpeg", "denoise"}
    assert torch.equal(rebuild(json.loads(json.dumps(pair.record)))(clean), pair.degraded)


def test_choices_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="range of their count"):
        PairedDegradation.draw(generator(), tasks=())
    with pytest.raises(ValueError, match="range of their count"):
        PairedDegradation.draw(generator(), count=(3, 1))
    with pytest.raises(ValueError, match="unknown task"):
        PairedDegradation.draw(generator(), tasks=("sharpen",))
    with pytest.raises(ValueError, match="a task for each step"):
        PairedDegradation(("denoise",), ())
    assert PairedDegradation.draw(generator(), tasks=("jpeg",), count=(2, 3)).tasks == ("jpeg",)


def test_the_missions_ranges():
    for seed in range(60):
        noise = draw_task("denoise", generator(seed))
        assert 5 <= noise.sigma <= 50 if isinstance(noise, GaussianNoise) else 1 <= noise.scale <= 5
        assert 10 <= draw_task("jpeg", generator(seed)).quality <= 40
        assert 2 <= draw_task("resize", generator(seed)).scale <= 4
        color = draw_task("color", generator(seed))
        assert 0.8 <= color.brightness <= 1.2 and 0.8 <= color.contrast <= 1.2
    image = photograph(1, 3, 24, 24)
    for task, kinds in FIXED_GRID.items():
        errors = [float((kind(image) - image).square().mean()) for kind in kinds]
        assert sorted(errors, reverse=task == "jpeg") == errors, task


# Their parts.


def test_interpolation_by_area_is_the_mean_over_it():
    image = photograph(1, 3, 12, 18).double()
    for mode in ("area", "coverage"):
        assert torch.allclose(interpolate(image, size=(4, 6), mode=mode), torch.nn.functional.avg_pool2d(image, 3))
    # 3 samples to 2: half of the one in the middle belongs to either.
    line = torch.tensor([[1.0, 2.0, 4.0]]).reshape(1, 1, 1, 3)
    assert torch.allclose(interpolate(line, size=(1, 2), mode="coverage").flatten(), torch.tensor([2 / 1.5, 5 / 1.5]))
    assert torch.allclose(interpolate(line, size=(1, 6), mode="coverage").flatten(), line.flatten().repeat_interleave(2))


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic", "coverage"])
def test_interpolation_keeps_constants_and_sizes(mode):
    image = torch.full((2, 3, 11, 7), 0.3)
    for scale in (0.05, 0.5, 0.77, 1.0, 1.6):
        resized = interpolate(image, scale, mode=mode)
        assert resized.shape == (2, 3, max(math.floor(11 * scale), 1), max(math.floor(7 * scale), 1))
        assert torch.allclose(resized, torch.full_like(resized, 0.3))
    assert torch.allclose(interpolate(photograph(1, 3, 9, 9), 1.0, mode=mode), photograph(1, 3, 9, 9), atol=1e-6)


def test_interpolation_refuses_what_makes_no_sense():
    image = torch.rand(1, 3, 8, 8)
    for arguments, words in (
        ({}, "one of them"),
        ({"scale": 0.5, "size": (4, 4)}, "one of them"),
        ({"scale": -1.0}, "scale should be positive"),
        ({"scale": math.nan}, "scale should be positive"),
        ({"size": (0, 4)}, "size should be positive"),
        ({"scale": 0.5, "mode": "nearest"}, "unknown mode"),
    ):
        with pytest.raises(ValueError, match=words):
            interpolate(image, **arguments)


def test_interpolation_is_not_antialiased_but_matlabs_resize_is():
    stripes = torch.zeros(1, 1, 32, 32)
    stripes[..., ::2] = 1
    assert interpolate(stripes, 0.25, mode="bicubic").std() < 1e-6  # It samples between a bright and a dark one.
    assert (interpolate(stripes, 1 / 3, mode="bilinear") - 0.5).abs().max() > 0.4
    assert (resize(stripes, 1 / 3)[..., 1:-1] - 0.5).abs().max() < 0.1
