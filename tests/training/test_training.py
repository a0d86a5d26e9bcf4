"""The recipes train, stop and go on exactly."""

import copy
import math

import pytest
import torch
from torch import nn

from restoralib.data.photographs import random_patches, read_photographs, split, turn
from restoralib.losses import psnr_loss
from restoralib.metrics import psnr
from restoralib.training import denoise, super_resolution
from restoralib.training.loop import Schedule, train


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of soft random pictures with edges."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    for number in range(6):
        coarse = torch.rand(1, 3, 6, 7, generator=generator)
        picture = nn.functional.interpolate(coarse, (96, 112), mode="bicubic" if number % 2 else "nearest").clamp(0, 1)[0]
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def fit_line(net, generator):
    x = torch.rand(8, 1, generator=generator)
    return (net(x) - 3 * x).square().mean()


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    whole, stopped = copy.deepcopy(net), copy.deepcopy(net)
    schedule = Schedule(steps=30, warmup=5)
    average = train(whole, fit_line, schedule, checkpoint=tmp_path / "whole.pt", every=10)

    class Killed(Exception):
        pass

    calls = iter(range(100))

    def dies_at_step_17(net, generator):
        if next(calls) == 17:
            raise Killed
        return fit_line(net, generator)

    with pytest.raises(Killed):
        train(stopped, dies_at_step_17, schedule, checkpoint=tmp_path / "part.pt", every=10)
    resumed = train(copy.deepcopy(net), fit_line, schedule, checkpoint=tmp_path / "part.pt", every=10)
    for expected, found in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert not list(tmp_path.glob("*.part"))


def test_the_rate_rises_stays_and_falls_to_zero():
    schedule = Schedule(steps=1000, rate=1.0, warmup=10, decay=0.4)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(9) == schedule.rate_at(599) == 1.0
    assert schedule.rate_at(800) == pytest.approx(0.5)
    assert schedule.rate_at(1000) == 0
    assert schedule.rate_at(300) == Schedule(steps=700, rate=1.0, warmup=10, decay=0.4).rate_at(300)


def test_the_denoising_recipe_improves_and_writes_float16(photographs, tmp_path):
    from safetensors import safe_open

    out = tmp_path / "denoiser.safetensors"
    arguments = [str(photographs), "--out", str(out), "--steps", "40", "--batch", "4", "--patch", "32", "--every", "40"]
    denoise.main(arguments)
    torch.manual_seed(0)
    net, untrained = (denoise.NAFNet(**denoise.CONFIG).eval() for _ in range(2))
    with safe_open(out, "pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        assert file.metadata()["arch"] == "nafnet"
    assert all(value.dtype == torch.float16 for value in weights.values())
    net.load_state_dict(weights)
    clean = torch.stack(list(read_photographs(photographs).values())[:1]).float() / 255
    noisy = denoise.add_noise(clean, torch.tensor(40 / 255), torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert psnr(net(noisy), clean) > psnr(untrained(noisy), clean) + 1


def test_the_super_resolution_recipe_starts_from_another_scale(photographs, tmp_path):
    from safetensors.torch import load_file

    first, second = tmp_path / "x2.safetensors", tmp_path / "x3.safetensors"
    common = [str(photographs), "--steps", "30", "--batch", "4", "--patch", "16", "--every", "30"]
    super_resolution.main([*common, "--scale", "2", "--out", str(first)])
    net = super_resolution.FSRCNN(2)
    net.load_state_dict(load_file(first))
    untrained = super_resolution.FSRCNN(2)
    (low, high), *_ = super_resolution.pairs_of(list(read_photographs(photographs).values()), 2, luma=True)
    with torch.inference_mode():
        assert psnr(net(low[None]), high[None]) > psnr(untrained(low[None]), high[None]) + 1
    super_resolution.main([*common[:2], "1", *common[3:], "--scale", "3", "--out", str(second), "--init", str(first)])
    shift = (load_file(second)["first_part.0.weight"] - load_file(first)["first_part.0.weight"]).abs().max()
    assert shift < 1e-3, "one step at the warm-up rate moves the shared layers very little"


def test_patches_come_from_the_images_and_depend_on_the_generator_alone():
    images = [torch.arange(60).view(1, 6, 10), torch.arange(100, 164).view(1, 8, 8)]
    first = random_patches(images, 4, 16, torch.Generator().manual_seed(3))
    again = random_patches(images, 4, 16, torch.Generator().manual_seed(3))
    assert first.shape == (16, 1, 4, 4)
    assert torch.equal(first, again)
    assert {int(patch.min()) >= 100 for patch in first} == {True, False}


def test_the_eight_turns_differ():
    image = torch.arange(9).view(1, 3, 3)
    assert len({tuple(turn(image, kind).flatten().tolist()) for kind in range(8)}) == 8
    assert torch.equal(turn(image, 0), image)


def test_held_out_items_are_not_trained_on():
    held_out, rest = split(list(range(100)))
    assert held_out == [0, 40, 80]
    assert sorted(held_out + rest) == list(range(100))


def test_psnr_loss_is_minus_the_psnr():
    target = torch.rand(3, 3, 8, 8)
    image = target + 0.1 * torch.randn(3, 3, 8, 8)
    assert -psnr_loss(image, target).item() == pytest.approx(psnr(image, target).mean().item(), abs=1e-3)
    assert math.isfinite(psnr_loss(target, target).item())


def test_a_folder_without_photographs_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a directory"):
        read_photographs(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="holds no image"):
        read_photographs(tmp_path)
