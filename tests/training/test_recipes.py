"""Every recipe trains for a moment and improves its validation; data that cannot be used is reported or refused."""

import csv
import importlib
import logging
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib import load_model, restore
from restoralib.archs import VARIANTS
from restoralib.data import DatasetError, open_photographs
from restoralib.training import RECIPES, bridges, ddpm, diffir, irsde, palette, real_esrgan, sr3, srgan, supervised
from restoralib.training.options import parse_config


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of soft random pictures with edges, and files that are none."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    for number in range(6):
        coarse = torch.rand(1, 3, 8, 9, generator=generator)
        picture = F.interpolate(coarse, (40, 45), mode="bicubic" if number % 2 else "nearest").clamp(0, 1)[0]
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    (folder / "7.png").write_bytes(b"no picture")
    (folder / "8.png").write_bytes((folder / "1.png").read_bytes()[:300] + b"IEND\xaeB`\x82")
    return folder


TINY_RRDB = "--config num_feat=8 num_block=1 num_grow_ch=4"
TINY_DIFFIR = (
    "--config n_encoder_res=1 dim=8 num_blocks=[1,1,1,1] num_refinement_blocks=1 heads=[1,1,1,1] ffn_expansion_factor=1"
)
TINY_ADM = "--config model_channels=32 num_res_blocks=1 channel_mult=[1,1] attention_resolutions=[] num_head_channels=16"
TINY_NAFNET = "--config width=8 middle_blk_num=1 enc_blk_nums=[1] dec_blk_nums=[1]"
RUNS = {
    "supervised": (
        supervised,
        "--arch nafnet_sidd_width32 --config width=8 middle_blk_num=1 enc_blk_nums=[1] dec_blk_nums=[1] "
        "--degrade denoise:40 --steps 40 --batch 4 --patch 24 --every 20",
    ),
    "supervised-sr": (
        supervised,
        "--arch edsr_baseline_x2 --config n_resblocks=1 n_feats=8 --steps 60 --batch 4 --patch 16 --every 60 --cutblur 0",
    ),
    "supervised-progressive": (
        supervised,
        "--arch restormer_real_denoising --config dim=8 num_blocks=[1,1,1,1] num_refinement_blocks=1 heads=[1,1,1,1] "
        "--degrade denoise:40 --cutblur 0.3 --steps 30 --batch 4 --patch 16 --every 15",
    ),
    "srgan": (
        srgan,
        "--config channels=8 num_rcb=1 --discriminator channels=4 --warm-up 40 --steps 4 --batch 2 --every 20 --content mse",
    ),
    "real_esrgan": (
        real_esrgan,
        f"{TINY_RRDB} --discriminator num_feat=4 --first-steps 40 --steps 4 --batch 2 --patch 16 --around 80 --every 20 "
        "--content l1",
    ),
    "diffir": (diffir, f"{TINY_DIFFIR} --degrade denoise:40 --steps 60 --batch 4 --patch 16 --every 60"),
    "ddpm": (ddpm, f"{TINY_ADM} --steps 40 --batch 4 --patch 16 --every 40"),
    "sr3": (
        sr3,
        "--degrade sr4 --config inner_channel=8 norm_groups=4 channel_mults=[1,2] attn_res=[] res_blocks=1 dropout=0.1 "
        "--steps 60 --batch 4 --patch 16 --every 60",
    ),
    "palette": (
        palette,
        "--config inner_channel=32 channel_mults=[1,1] attn_res=[] res_blocks=1 num_head_channels=16 --steps 60 --batch 4 "
        "--patch 16 --every 60",
    ),
    "irsde": (irsde, f"--arch refusion {TINY_NAFNET} --degrade denoise:40 --steps 60 --patch 16 --every 60"),
    "i2sb": (bridges, f"{TINY_ADM} --degrade denoise:40 --steps 60 --batch 4 --patch 16 --every 60"),
    "goub": (bridges, f"--bridge goub --arch refusion {TINY_NAFNET} --degrade denoise:40 --steps 60 --patch 16 --every 60"),
}
RATES = {"diffir": 1e-3, "irsde": 6e-3, "goub": 6e-3}  # 3e-3 for the others
GAINS = {"irsde": 0.2, "goub": 0.2}  # they begin with little noise left to remove


def rows_of(folder):
    with folder.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", RUNS)
def test_a_short_run_improves_the_validation_and_its_file_loads(photographs, tmp_path, monkeypatch, name):
    module, arguments = RUNS[name]
    hasten(monkeypatch, RATES.get(name, 3e-3))
    out = tmp_path / "net.safetensors"
    run = [str(photographs), "--out", str(out), "--log", str(tmp_path / "log"), *arguments.split()]
    first = [*run, "--steps", "1"] if name not in ("srgan", "real_esrgan") else [*run, "--steps", "1", *beginning(name)]
    module.main([*first, "--state", str(tmp_path / "first.pt"), "--log", str(tmp_path / "before"), "--every", "1"])
    module.main(run)
    before, after = (sorted((tmp_path / side).rglob("log.csv")) for side in ("before", "log"))
    for early, late in zip(before, after, strict=True):
        assert float(rows_of(late)[-1]["validation"]) > float(rows_of(early)[0]["validation"]) + GAINS.get(name, 0.5), late
    assert list((tmp_path / "log").rglob("pictures/*_pair0.png"))
    net = load_model(out)
    if net.spec.role == "restorer":
        image = torch.rand(3, 20, 24)
        scale = net.spec.scale
        assert restore(image, net, seed=0).shape == (3, scale * 20, scale * 24)


def beginning(name):
    return ["--warm-up", "1"] if name == "srgan" else ["--first-steps", "1"]


def hasten(monkeypatch, rate):
    """Learn faster than the paper, and average over less, for there are a few dozen steps."""
    from restoralib.training.schedule import Schedule

    plain = Schedule.rate_at
    monkeypatch.setattr(Schedule, "rate_at", lambda schedule, step: max(plain(schedule, step), rate))
    monkeypatch.setattr(Schedule, "__post_init__", lambda schedule: object.__setattr__(schedule, "ema", 0.8))


SMALL = RUNS["supervised"][1].replace("--steps 40", "--steps 2").replace("--every 20", "--every 2").split()


def test_unreadable_files_are_reported_and_the_run_goes_on(photographs, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    supervised.main([str(photographs), "--out", str(tmp_path / "net.safetensors"), *SMALL])
    assert "left out" in caplog.text and "7.png is no PNG, JPEG" in caplog.text
    assert "step 2 of 2" in caplog.text and (tmp_path / "net.safetensors").exists()
    held_out, rest = open_photographs(photographs)
    assert len(held_out) == 1 and len(rest) == 6
    with caplog.at_level(logging.WARNING):
        assert all(rest[place].shape == (3, 40, 45) for place in range(6)), "the next one stands in for the damaged one"
        rest[5]
    assert caplog.text.count("8.png is damaged or not whole") == 1 + (caplog.text.count("8.png is damaged") > 1)


def test_photographs_beyond_the_room_are_read_anew(photographs):
    _, rest = open_photographs(photographs, room=40 * 45 * 3)
    first = rest[0]
    assert rest[0] is first and rest[1] is not rest[1]
    assert torch.equal(rest[1], rest[1])
    with pytest.raises(IndexError, match="there are 6 photographs"):
        rest[6]


def test_empty_folders_and_single_photographs_are_refused(photographs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = ["--out", str(tmp_path / "net.safetensors"), *SMALL]
    with pytest.raises(FileNotFoundError, match="holds no image"):
        supervised.main([str(empty), *arguments])
    with pytest.raises(FileNotFoundError, match="is not a directory"):
        supervised.main([str(empty / "none"), *arguments])
    (empty / "1.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="none of 1 image files can be read"):
        supervised.main([str(empty), *arguments])
    (empty / "2.png").write_bytes((photographs / "1.png").read_bytes())
    with pytest.raises(DatasetError, match="training needs two"):
        supervised.main([str(empty), *arguments])


def test_patches_larger_than_all_photographs_and_absent_folders_are_told_before_training(photographs, tmp_path, capsys):
    from restoralib.training import denoise

    out = ["--out", str(tmp_path / "net.safetensors")]
    with pytest.raises(FileNotFoundError, match="holds no photograph of 64 pixels and more; lower --patch"):
        denoise.main([str(photographs), *out, "--steps", "1"])
    with pytest.raises(SystemExit):
        denoise.main([str(photographs), "--out", str(tmp_path / "none" / "net.safetensors")])
    assert f"there is no folder {tmp_path / 'none'} for --out" in capsys.readouterr().err


def test_weights_that_do_not_fit_on_the_disk_leave_the_file_that_was_there(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from restoralib.checkpoints import writing

    net, path = torch.nn.Linear(2, 1), tmp_path / "net.safetensors"
    writing.write_weights(net, path, arch="none", config={})
    before = path.read_bytes()

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(writing, "save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*net\.safetensors \(the disk is full\); the file that was there before"):
        writing.write_weights(net, path, arch="none", config={})
    assert path.read_bytes() == before
    with pytest.raises(OSError, match=r"cannot write .*new\.safetensors \(the disk is full\)$"):
        writing.write_weights(net, tmp_path / "new.safetensors", arch="none", config={})


def test_every_recipe_has_a_program_and_a_line():
    import ast
    from pathlib import Path

    folder = Path(importlib.import_module("restoralib.training").__file__).parent
    programs = {
        path.stem
        for path in folder.glob("*.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body)
    }
    assert set(RECIPES) <= programs
    assert programs - set(RECIPES) <= {"bundle", "cards"}, "every program but those that enter weights is a recipe"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_in_the_docs_and_explains_its_options(name, monkeypatch):
    import argparse
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "layers" / "training.md"
    assert re.search(rf"`(training\.)?{name}`", page.read_text(encoding="utf-8")), f"{name} is not in {page.name}"
    seen = []

    def stop(parser, *_):
        seen.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(SystemExit):
        importlib.import_module(f"restoralib.training.{name}").main([])
    (parser,) = seen
    mute = [action.dest for action in parser._actions if not action.help and not action.choices]
    assert not mute, f"{', '.join(mute)} of {name} have no help"
    assert parser.description


def test_the_command_line_trains(photographs, tmp_path):
    from typer.testing import CliRunner

    from restoralib.cli import app

    runner = CliRunner()
    listed = runner.invoke(app, ["train", "--list"])
    assert listed.exit_code == 0 and all(name in listed.output for name in RECIPES)
    out = tmp_path / "net.safetensors"
    settings = ["steps=1", "batch=1", "patch=8", "degrade=denoise:25", "device=cpu", "tensorboard=false"]
    settings.append("config=width=4 middle_blk_num=1 enc_blk_nums=[1] dec_blk_nums=[1]")
    sets = [part for setting in settings for part in ("--set", setting)]
    done = runner.invoke(app, ["train", "supervised", "--data", str(photographs), "-o", str(out), *sets])
    assert done.exit_code == 0, done.output
    assert load_model(out).spec.in_channels == 3
    for arguments, words in (
        (["train", "supervise", "--data", "."], "did you mean supervised"),
        (["train", "supervised"], "name the folder of photographs by --data"),
        (["train", "supervised", "--data", str(tmp_path / "none")], "is not a directory"),
        (["train", "supervised", "--data", ".", "--set", "steps"], "--set expects KEY=VALUE"),
    ):
        refused = runner.invoke(app, arguments)
        assert refused.exit_code == 1 and words in " ".join(refused.output.split()), refused.output
    refused = runner.invoke(app, ["train", "supervised", "--data", ".", "--set", "step=1", "--set", "stepz=1"])
    assert refused.exit_code == 2 and "did you mean --steps" in " ".join(refused.output.split())


def test_arguments_of_networks_are_json_or_text():
    found = parse_config(["a=1", "b=[1,2]", "c=text", "d=null"])
    assert found == {"a": 1, "b": [1, 2], "c": "text", "d": None}
    with pytest.raises(ValueError, match="expected key=value, got 'a'"):
        parse_config(["a"])


def test_degradations_by_words():
    from restoralib.training.degrade import find_degradation, scale_of

    generator = torch.Generator().manual_seed(0)
    assert find_degradation("denoise:25")(generator).sigma == 25
    assert 10 <= find_degradation("jpeg:10-12")(generator).quality <= 12
    assert scale_of(find_degradation("sr4")) == 4 and scale_of(find_degradation("derain")) == 1
    assert len(find_degradation("mixed")(generator).tasks) in (1, 2, 3)
    for text in ("snow", "sr", "sr4:2", "derain:3", "denoise:x"):
        with pytest.raises(ValueError, match=f"unknown degradation '{text}'"):
            find_degradation(text)


def test_published_settings_keep_their_proportions_in_shorter_runs():
    from restoralib.training.published import PUBLISHED, settings_of

    schedule, stages = PUBLISHED["Restormer"].scaled(steps=3000, patch=128, batch=64)
    assert [(stage.start, stage.patch, stage.batch) for stage in stages] == [
        (0, 128, 64),
        (920, 160, 40),
        (1560, 192, 32),
        (2040, 256, 16),
        (2400, 320, 8),
        (2760, 384, 8),
    ]
    assert schedule.rate_at(919) == pytest.approx(3e-4) and schedule.rate_at(3000) == pytest.approx(1e-6)
    schedule, _ = PUBLISHED["SwinIR"].scaled(steps=5000, patch=48, batch=32)
    assert schedule.milestones == (2500, 4000, 4500, 4750)
    assert settings_of(VARIANTS["nafnet_gopro_width32"].cls) is PUBLISHED["NAFNet"]
    known = {variant.cls.__name__ for variant in VARIANTS.values()}
    assert set(PUBLISHED) <= known | {"PlainNet", "Baseline"}


def test_srgan_and_real_esrgan_follow_their_papers():
    from restoralib.losses import mse_loss, total_variation_squared

    generator, judge = nn.Conv2d(3, 3, 1), nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    batch = {"degraded": torch.rand(2, 3, 4, 4), "clean": torch.rand(2, 3, 4, 4)}
    nets = {"generator": generator, "discriminator": judge}
    loss = srgan.generator_loss(mse_loss, nets, batch)
    restored = generator(batch["degraded"])
    expected = mse_loss(restored, batch["clean"]) + 1e-3 * F.softplus(-judge(restored)).mean()
    torch.testing.assert_close(loss, expected + 2e-8 * total_variation_squared(restored))
    judged = srgan.discriminator_loss(nets, batch)
    torch.testing.assert_close(judged, F.softplus(-judge(batch["clean"])).mean() + F.softplus(judge(restored)).mean())
    batch["target"] = batch["clean"] + 0.1
    loss = real_esrgan.generator_loss(lambda a, b: (a - b).square().mean(), nets, batch)
    expected = F.l1_loss(restored, batch["target"]) + F.mse_loss(restored, batch["target"])
    torch.testing.assert_close(loss, expected + 0.1 * F.softplus(-judge(restored)).mean())


def test_real_patches_belong_together():
    from restoralib.degradations import usm_sharpen

    photograph = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).byte()
    photograph = F.interpolate(photograph[None].float(), (96, 96), mode="bicubic").clamp(0, 255)[0].byte()
    item = real_esrgan.RealPatches([photograph], scale=2, around=96)(3, 48)
    assert item["degraded"].shape == (3, 48, 48) and item["clean"].shape == item["target"].shape == (3, 96, 96)
    torch.testing.assert_close(usm_sharpen(item["clean"][None])[0], item["target"])
    item = real_esrgan.RealPatches([photograph], scale=2, around=64)(3, 16)
    small = F.interpolate(item["clean"][None], (16, 16), mode="area")[0]
    assert float((item["degraded"] - small).abs().mean()) < 0.25


def test_stored_pairs_train(photographs, tmp_path):
    from PIL import Image

    for side in ("degraded", "clean"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
    for path in sorted(photographs.glob("[0-3].png")):
        image = Image.open(path)
        image.save(tmp_path / "pairs" / "clean" / path.name)
        image.point(lambda value: value // 2).save(tmp_path / "pairs" / "degraded" / path.name)
    out = tmp_path / "net.safetensors"
    arguments = [argument for argument in SMALL if argument not in ("--degrade", "denoise:40")]
    supervised.main([str(tmp_path / "pairs"), "--pairs", "--out", str(out), *arguments])
    assert load_model(out).spec.scale == 1
