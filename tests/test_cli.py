"""The command line: which files it reads and writes, what it prints, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from restoralib import cli, doctor, restore
from restoralib.archs import FSRCNN, VARIANTS, ConditionalUNet, GuidedUNet, NAFNet, SR3UNet
from restoralib.batch import MANIFEST
from restoralib.checkpoints import recognize
from restoralib.diffusion import inpainting


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def write_picture(path: Path, value: int = 128, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 255 - value)).save(path)
    return path


@pytest.fixture
def identity(tmp_path) -> Path:
    """A checkpoint of a NAFNet that changes nothing, in a folder of its own."""
    net = NAFNet(width=2, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,))
    torch.nn.init.zeros_(net.ending.weight)
    torch.nn.init.zeros_(net.ending.bias)
    path = tmp_path / "models" / "identity.pth"
    path.parent.mkdir()
    torch.save({"params": net.state_dict()}, path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_missing_image_is_named(run, tmp_path):
    for output in ("out", "y.png"):
        result = run("restore", "missing.png", "-o", output)
        assert result.exit_code == 1
        assert "missing.png: no such file" in result.output


def test_tile_is_parsed():
    assert [cli.parse_tile(text) for text in ("auto", "none", "256", "256x384")] == ["auto", None, 256, (256, 384)]
    for text in ("0", "x", "1x2x3", "-4", "big"):
        with pytest.raises(ValueError, match="--tile should be"):
            cli.parse_tile(text)


def test_settings_are_parsed():
    assert cli.parse_settings(["scale=3", "img_range=255.0", "upsampler=nearest"]) == {
        "scale": 3,
        "img_range": 255.0,
        "upsampler": "nearest",
    }
    with pytest.raises(ValueError, match="NAME=VALUE"):
        cli.parse_settings(["scale"])


# restore


def test_folder_is_restored_and_a_second_run_skips_it(run, tmp_path, identity):
    for name in ("in/a.png", "in/b.png"):
        write_picture(tmp_path / name)
    result = run("restore", "in", "-m", identity, "-o", "out")
    assert result.exit_code == 0, result.output
    assert "2 restored, 0 failed" in result.output
    assert np.array_equal(pixels(tmp_path / "out" / "a.png"), pixels(tmp_path / "in" / "a.png"))
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    result = run("restore", "in", "-m", identity, "-o", "out")
    assert result.exit_code == 0
    assert "0 restored, 2 skipped" in result.output
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "a.png", "b.png"]


def test_one_bad_image_does_not_stop_the_others(run, tmp_path, identity):
    write_picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    result = run("restore", "in", "missing.png", "-m", identity, "-o", "out")
    assert result.exit_code == 1
    assert "1 restored, 2 failed" in result.output
    assert "bad.png" in result.output
    assert "missing.png: no such file" in result.output
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]


def test_input_is_not_overwritten_unless_told(run, tmp_path, identity):
    source = write_picture(tmp_path / "a.png")
    content = source.read_bytes()
    result = run("restore", "a.png", "-m", identity, "-o", ".")
    assert result.exit_code == 1
    assert "would overwrite its input" in result.output
    assert source.read_bytes() == content
    assert run("restore", "a.png", "-m", identity, "-o", ".", "--overwrite").exit_code == 0


def test_another_input_is_never_overwritten(run, tmp_path, identity):
    write_picture(tmp_path / "x" / "a.png", 10)
    other = write_picture(tmp_path / "y" / "a_c.png", 200)
    content = other.read_bytes()
    result = run("restore", "x/a.png", "y/a_c.png", "-m", identity, "-o", "y", "--suffix", "_c", "--overwrite")
    assert result.exit_code == 1
    assert "another input" in result.output
    assert other.read_bytes() == content


def test_format_and_suffix_name_the_result(run, tmp_path, identity):
    write_picture(tmp_path / "a.jpg")
    result = run("restore", "a.jpg", "-m", identity, "-o", "out", "--format", "png", "--suffix", "_clean")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "out" / "a_clean.png").format == "PNG"


def test_checkpoint_takes_what_its_weights_do_not_tell(run, tmp_path):
    write_picture(tmp_path / "a.png", size=(12, 10))
    torch.save(FSRCNN(3, d=8, s=4, m=1).state_dict(), tmp_path / "net.pth")
    result = run("restore", "a.png", "-m", "net.pth", "-o", "out")
    assert result.exit_code == 1
    assert "scale_factor" in result.output and "--set scale=3" in result.output
    assert run("restore", "a.png", "-m", "net.pth", "--set", "scale=3", "-o", "out").exit_code == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (36, 30)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "denoize"),
        ("-m", "denoise", "--tile", "huge"),
        ("-m", "denoise", "--set", "scale=3"),
        ("-m", "denoise", "--device", "toaster"),
    ],
)
def test_wrong_arguments_stop_before_any_work(run, tmp_path, arguments):
    write_picture(tmp_path / "a.png")
    result = run("restore", "a.png", "-o", "out", *arguments)
    assert result.exit_code == 1
    assert "error:" in result.output
    assert not (tmp_path / "out").exists()


def test_result_of_another_source_is_a_failure_and_not_skipped(run, tmp_path, identity):
    for number, folder in enumerate("ab"):
        write_picture(tmp_path / folder / "x.png", 100 * number)
    assert run("restore", "a", "-m", identity, "-o", "o").exit_code == 0
    result = run("restore", "b", "-m", identity, "-o", "o")
    assert result.exit_code == 1
    assert "is the result of" in result.output and "0 restored, 1 failed" in result.output
    assert run("restore", "a", "b", "-m", identity, "-o", "o").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "o" / "b-x.png"), pixels(tmp_path / "b" / "x.png"))
    assert "0 restored, 2 skipped" in run("restore", "b", "a", "-m", identity, "-o", "o").output
    assert "0 restored, 1 skipped" in run("restore", "b", "-m", identity, "-o", "o").output


def test_image_added_beside_one_of_its_name_is_restored(run, tmp_path, identity):
    write_picture(tmp_path / "c" / "x.png")
    assert run("restore", "c", "-m", identity, "-o", "o", "--format", "png").exit_code == 0
    write_picture(tmp_path / "c" / "x.jpg", 10)
    assert "1 restored, 1 skipped" in run("restore", "c", "-m", identity, "-o", "o", "--format", "png").output
    assert np.abs(pixels(tmp_path / "o" / "c-x-jpg.png").astype(int) - pixels(tmp_path / "c" / "x.jpg")).max() <= 1


def test_results_are_no_inputs_of_a_repeated_command(run, tmp_path, identity):
    write_picture(tmp_path / "d" / "a.png")
    assert run("restore", "d", "-m", identity, "-o", "d", "--format", "webp").exit_code == 0
    result = run("restore", "d", "-m", identity, "-o", "d", "--format", "webp")
    assert result.exit_code == 0 and "0 restored, 1 skipped" in result.output
    for _ in range(2):
        assert run("restore", "d/**/*.png", "-m", identity, "-o", "d/out").exit_code == 0
    assert [path.name for path in (tmp_path / "d" / "out").glob("*.png")] == ["a.png"]


def test_options_reach_the_restoration(run, tmp_path, identity):
    write_picture(tmp_path / "a.png")
    result = run("restore", "a.png", "-m", identity, "-o", "out", "--max-pixels", 10)
    assert result.exit_code == 1 and result.output.count("a.png") == 1
    options = ("--alpha", "drop", "--batch", 2, "--overlap", 4, "--seed", 1, "--tile", 16)
    assert run("restore", "a.png", "-m", identity, "-o", "out", *options).exit_code == 0


@pytest.mark.parametrize(
    ("output", "message"),
    [("deep/out.gif", ".webp"), ("notes", "names a file, not a folder"), ("notes/deep", "the folder notes/deep")],
)
def test_output_that_cannot_be_is_refused(run, tmp_path, identity, output, message):
    (tmp_path / "notes").write_text("no folder")
    for name in ("in/a.png", "in/b.png", "in/._a.png"):
        write_picture(tmp_path / name)
    result = run("restore", "in", "-m", identity, "-o", output)
    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / "deep").exists()


def checkpoint(path: Path, net: torch.nn.Module) -> torch.nn.Module:
    """A file of a network with random weights, none of them zero, which is given back in eval mode."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save(net.state_dict(), path)
    return net.eval()


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(pixels(path) / 255).float().permute(2, 0, 1)


def levels(image: torch.Tensor) -> np.ndarray:
    return np.rint(image.permute(1, 2, 0).numpy() * 255)


def test_a_diffusion_takes_sampler_steps_and_seed(run, tmp_path):
    source = write_picture(tmp_path / "a.png")
    net = checkpoint(tmp_path / "net.pth", ConditionalUNet(nf=4, depth=2))
    arguments = ("restore", "a.png", "-m", "net.pth", "--seed", 1, "--steps", 4)
    for sampler in ("posterior", "ode"):
        result = run(*arguments, "--sampler", sampler, "-o", f"{sampler}.png")
        assert result.exit_code == 0, result.output
        expected = restore(
            torch.from_numpy(pixels(source) / 255).float().permute(2, 0, 1), net, sampler=sampler, steps=4, seed=1
        )
        assert np.abs(pixels(tmp_path / f"{sampler}.png") - levels(expected)).max() <= 1
    assert not np.array_equal(pixels(tmp_path / "posterior.png"), pixels(tmp_path / "ode.png"))
    assert run(*arguments[:4], "--seed", 2, "--steps", 4, "--sampler", "posterior", "-o", "other.png").exit_code == 0
    assert not np.array_equal(pixels(tmp_path / "posterior.png"), pixels(tmp_path / "other.png"))


@pytest.fixture
def prior(tmp_path) -> torch.nn.Module:
    return checkpoint(tmp_path / "prior.pth", GuidedUNet(32, 3, 32, 6, 1, (), channel_mult=(1, 2)))


def test_a_latent_denoiser_takes_steps_and_seed(run, tmp_path):
    write_picture(tmp_path / "a.png")
    arguments = ("restore", "a.png", "-m", "latent_denoise", "--seed", 1, "--steps", 2)
    assert run(*arguments, "-o", "b.png").exit_code == 0 and run(*arguments, "-o", "c.png").exit_code == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    refused = run(*arguments, "--sampler", "ddim", "-o", "d.png")
    assert refused.exit_code == 1 and "sampler: not for a LatentRestorer" in " ".join(refused.output.split())


def test_an_unconditional_diffusion_is_guided_by_an_operator_and_its_noise(run, tmp_path, prior):
    source = write_picture(tmp_path / "a.png", size=(8, 6))
    arguments = ("restore", "a.png", "-m", "prior.pth", "--seed", 1, "--steps", 4, "--guidance", "ddrm", "--operator", "sr2")
    for sigma in (0, 51):
        result = run(*arguments, "--sigma", sigma, "-o", f"{sigma}.png")
        assert result.exit_code == 0, result.output
        expected = restore(read(source), prior, guidance="ddrm", operator="sr2", sigma=sigma / 255, steps=4, seed=1)
        assert expected.shape == (3, 12, 16)
        assert np.abs(pixels(tmp_path / f"{sigma}.png") - levels(expected)).max() <= 1
    assert not np.array_equal(pixels(tmp_path / "0.png"), pixels(tmp_path / "51.png"))


def test_a_mask_is_the_operator_of_its_black_pixels(run, tmp_path, prior):
    source = write_picture(tmp_path / "a.png")
    holes = np.full((16, 24, 3), 255, np.uint8)
    holes[4:9, 5:12] = 0
    Image.fromarray(holes).save(tmp_path / "holes.png")
    arguments = ("restore", "a.png", "-m", "prior.pth", "--seed", 1, "--steps", 4, "--guidance", "ddnm", "--mask", "holes.png")
    result = run(*arguments, "-o", "out.png")
    assert result.exit_code == 0, result.output
    known = holes[..., 0] == 255
    changed = np.abs(pixels(tmp_path / "out.png").astype(int) - pixels(source)).max(-1)
    assert changed[known].max() <= 1 and changed[~known].max() > 1
    mask = inpainting(torch.from_numpy(known).double())
    expected = restore(read(source), prior, guidance="ddnm", operator=mask, steps=4, seed=1)
    assert np.abs(pixels(tmp_path / "out.png") - levels(expected)).max() <= 1
    result = run(*arguments, "--operator", "sr2", "-o", "other.png")
    assert result.exit_code == 1 and "--mask is an operator of its own; leave --operator sr2 out" in result.output


def test_an_image_is_enlarged_before_a_diffusion(run, tmp_path):
    source = write_picture(tmp_path / "a.png", size=(8, 6))
    net = SR3UNet(6, 3, inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), res_blocks=1)
    checkpoint(tmp_path / "sr3.pth", net)
    arguments = ("restore", "a.png", "-m", "sr3.pth", "--set", "norm_groups=4", "--seed", 1, "--steps", 2)
    result = run(*arguments, "--scale", 2, "-o", "out.png")
    assert result.exit_code == 0, result.output
    expected = restore(read(source), net, scale=2, steps=2, seed=1)
    assert expected.shape == (3, 12, 16)
    assert np.abs(pixels(tmp_path / "out.png") - levels(expected)).max() <= 1


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("prior.pth", ("--guidance", "ddrmm", "--operator", "sr2"), "'ddrmm'"),
        ("prior.pth", ("--guidance", "ddrm", "--operator", "srx"), "'srx'"),
        ("prior.pth", ("--guidance", "ddrm"), "needs the operator that degraded the image"),
        ("net.pth", ("--sampler", "posteriour"), "'posteriour'"),
        ("net.pth", ("--operator", "sr2"), "leave operator out"),
        ("models/identity.pth", ("--sampler", "ddim"), "sampler: only for diffusion models, which NAFNet is not"),
        ("models/identity.pth", ("--steps", 4, "--scale", 2), "steps and scale: only for diffusion models"),
    ],
)
def test_options_of_a_diffusion_that_do_not_fit_stop_before_any_work(run, tmp_path, prior, identity, model, options, words):
    write_picture(tmp_path / "a.png")
    checkpoint(tmp_path / "net.pth", ConditionalUNet(nf=4, depth=2))
    result = run("restore", "a.png", "-m", model, *options, "-o", "out")
    assert result.exit_code == 1 and words in " ".join(result.output.split()), result.output
    assert not (tmp_path / "out").exists()


def test_model_is_checked_where_all_is_skipped(run, tmp_path):
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "out" / "a.png")
    assert run("restore", "a.png", "-m", "denoize", "-o", "out").exit_code == 1


# models, info, compare, doctor


def test_no_matching_model_is_said(run):
    result = run("models", "zzz*")
    assert result.exit_code == 1 and "no model matches" in result.output


def test_models_are_listed_with_licences(run):
    result = run("models", "nafnet*", "--json")
    assert result.exit_code == 0, result.output
    entries = json.loads(result.stdout)
    assert entries
    assert all(entry["code_license"] and entry["weights_license"] for entry in entries)
    assert "nafnet" in run("models", "nafnet*").stdout


def test_models_can_be_chosen_by_task_and_licence(run):
    denoisers = json.loads(run("models", "--task", "denoise", "--json").stdout)
    assert denoisers and all("denoise" in entry["tasks"] for entry in denoisers)
    free = json.loads(run("models", "--commercial", "--json").stdout)
    assert all(entry["commercial"] for entry in free)


def test_info_names_the_network_and_its_arguments(run, identity):
    result = run("info", identity, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["network"] == "NAFNet"
    assert facts["config"]["width"] == 2
    assert facts["parameters"] > 0
    assert facts["needs"]["scale"] == 1
    assert "NAFNet" in run("info", identity).stdout


@pytest.mark.parametrize("name", ["srresnet_x4", "nafnet_gopro_width32", "swinir_lightweight_x2", "restormer_deraining"])
def test_published_configuration_is_named(name):
    variant = VARIANTS[name]
    with torch.device("meta"):
        state = variant.cls(**variant.config).state_dict()
    assert name in cli.published_names(recognize(state))


def test_info_says_what_the_weights_do_not_tell(run, tmp_path):
    torch.save(FSRCNN(3).state_dict(), tmp_path / "net.pth")
    facts = json.loads(run("info", "net.pth", "--json").stdout)
    assert facts["missing"] == ["scale_factor"]
    assert facts["published as"] == ["fsrcnn_x2", "fsrcnn_x3", "fsrcnn_x4"]
    assert facts["parameters"] == sum(parameter.numel() for parameter in FSRCNN(3).parameters())


def test_info_refuses_what_is_no_checkpoint(run, tmp_path):
    (tmp_path / "notes.pth").write_text("no weights")
    result = run("info", "notes.pth")
    assert result.exit_code == 1
    assert "error:" in result.output and "notes.pth" in result.output


def test_compare_prints_figures_and_writes_the_picture(run, tmp_path):
    write_picture(tmp_path / "a.png", 100)
    write_picture(tmp_path / "b.png", 110)
    result = run("compare", "a.png", "b.png")
    assert result.exit_code == 0, result.output
    assert "PSNR" in result.output
    assert Image.open(tmp_path / "before_after.png").size == (24 + 8 + 24, 16)
    assert run("compare", "a.png", "b.png").exit_code == 1
    assert run("compare", "a.png", "b.png", "--overwrite").exit_code == 0
    assert run("compare", "a.png", "b.png", "-o", "new/c.png").exit_code == 0


def test_compare_enlarges_and_measures_against_a_target(run, tmp_path):
    write_picture(tmp_path / "small.png", 100, (12, 8))
    write_picture(tmp_path / "large.png", 100)
    write_picture(tmp_path / "true.png", 101)
    result = run("compare", "small.png", "large.png", "--target", "true.png", "-o", "picture.png")
    assert result.exit_code == 0, result.output
    assert "against true.png" in result.output
    assert Image.open(tmp_path / "picture.png").size == (3 * 24 + 2 * 8, 16)


def test_compare_never_replaces_its_inputs_and_needs_fitting_sizes(run, tmp_path):
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", size=(25, 16))
    assert run("compare", "a.png", "a.png", "-o", "a.png", "--overwrite").exit_code == 1
    result = run("compare", "a.png", "b.png")
    assert result.exit_code == 1
    assert "whole multiples" in result.output


def test_doctor_reports_versions_devices_and_checks(run):
    result = run("doctor", "--json")
    findings = json.loads(result.stdout)
    assert {finding["topic"] for finding in findings} == {"version", "device", "check"}
    assert result.exit_code == (0 if all(finding["ok"] for finding in findings) else 1)
    assert "torch" in run("doctor").stdout


def test_doctor_explains_a_torchvision_that_does_not_match(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("restoralib._timm.importlib.import_module", fail)
    finding = doctor.check_timm()
    assert not finding.ok
    assert "does not match torch" in finding.result
    assert "whl/cpu" in finding.remedy


def test_command_line_without_typer_names_the_extra():
    code = "import sys; sys.modules['typer'] = None; from restoralib.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert 'pip install "restoralib[cli]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_version_is_printed(run):
    import restoralib

    assert run("--version").stdout.strip() == restoralib.__version__


# Wishes in words


def test_a_prompt_is_said_back_and_done_with_weights_that_are_brought(run, identity):
    image = write_picture(Path("a.png"))
    result = run(
        "restore", image, "-o", "out", "--prompt", "remove the rain but keep the grain", "--models", f"derain={identity}"
    )
    assert result.exit_code == 0 and "understood: derain ('rain'); left as it is: denoise ('grain')" in result.stderr
    assert np.array_equal(pixels(Path("out/a.png")), pixels(image))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--prompt", "make me a sandwich"), "cannot tell what 'make me a sandwich' asks for; known words are"),
        (("--models", "derain"), "--models expects TASK=FILE, got 'derain'"),
        (("--models", "rain=net.pth"), "models has 'rain', which are no tasks"),
        (("--models", "derain=absent.pth"), "absent.pth"),
        (("--model", "denoise", "--models", "derain=net.pth"), "--models are for auto"),
    ],
)
def test_wishes_that_cannot_be_are_refused_before_any_work(run, arguments, reason):
    result = run("restore", write_picture(Path("a.png")), "-o", "out", *arguments)
    assert result.exit_code == 1 and reason in " ".join(result.stderr.split()) and not Path("out").exists()
