"""What is measured of networks: the measures on networks whose answer is known, and the stored table."""

from __future__ import annotations

import json
import random

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from restoralib import capabilities, cli
from restoralib.archs import NetSpec
from restoralib.zoo import list_models, model_info
from restoralib.zoo import measured as stored


def test_multiply_adds_are_those_that_are_published():
    # Facts of the references: products of convolutions and of matrices at 256x256.
    assert capabilities.count_multiply_adds("restormer_deraining") / 1e9 == pytest.approx(154.9, abs=0.05)
    assert capabilities.count_multiply_adds("srcnn_x2") == 256 * 256 * (64 * 81 + 32 * 64 * 25 + 32 * 25)
    assert model_info("srcnn_x2").multiply_adds == capabilities.count_multiply_adds("srcnn_x2")


def test_billions_show_small_numbers_too():
    counts = (11_021_582_336, 3_293_400_000_000, 260_000_000, 49_999_999, 4_731_904)
    assert [stored.in_billions(count) for count in counts] == ["11.0", "3293.4", "0.3", "0.05", "0.0047"]


def test_living_bytes_are_those_at_the_peak():
    with torch.no_grad(), capabilities.LivingBytes() as living:
        a = torch.zeros(1000)  # 4000
        b = a + 1  # 8000
        a = a.view(10, 100)  # shares its memory
        del b  # 4000
        c = a * 2  # 8000
        c.add_(1)  # in place
        del a, c
    assert living.peak == 8000 and living.living == 0


class Named(nn.Module):
    """A network that looks everywhere, overflows in half precision, or goes by the image's values or size, as asked."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        halo = (None, ("mean",)) if kind == "global" else (1, ())
        self.spec = NetSpec(halo=halo[0], global_ops=halo[1])

    def forward(self, image):
        x = self.conv(image)
        if self.kind == "global":
            return x + image.mean()
        if self.kind == "branch" and image.sum() > 0:
            return 2 * x
        if self.kind == "small" and (image.shape[2] < 20 or image.shape[3] < 20):
            return 2 * x
        if self.kind == "overflow":
            return x * 1e6
        return x


@pytest.fixture
def measure(monkeypatch):
    """Measure a made network under the name of a real one."""

    def run(kind):
        torch.manual_seed(0)
        net = Named(kind)
        monkeypatch.setattr(capabilities, "_random", lambda name: net)
        monkeypatch.setattr(capabilities, "SIDE", 64)
        return capabilities.measure("srcnn_x2")

    return run


def test_a_local_network_is_exact_and_safe(measure):
    found = measure("local")
    assert (found.tiles, found.reach, found.tile_psnr) == ("exact", 1, None)
    assert found.bfloat16 > 40 and found.float16 > found.bfloat16 and "float16" in found.safe_dtypes
    assert (found.compile, found.export, found.weights) == ("one graph", "any", "random")


def test_a_network_that_looks_everywhere_is_blended(measure):
    found = measure("global")
    assert (found.tiles, found.reach) == ("blended", None) and 10 < found.tile_psnr < 60


def test_what_overflows_does_not_count_as_safe(measure):
    assert measure("overflow").float16 is None and "float16" not in measure("overflow").safe_dtypes


def test_a_flat_result_is_measured_by_its_size_and_a_black_one_not_at_all():
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert capabilities._psnr(flat + 0.005, flat) == pytest.approx(40, abs=1e-3)
    assert capabilities._psnr(flat, torch.zeros_like(flat)) is None


def test_a_least_size_of_an_exported_program_is_found():
    assert capabilities._export(Named("small")) == "any from 32 pixels"


def test_faults_are_told_in_a_line(measure):
    found = measure("branch")
    assert found.compile != "one graph" and found.export not in ("any", "")
    assert "\n" not in found.compile + found.export


# The stored table


def test_entries_are_those_of_the_models():
    assert set(list_models(bundled=True)) <= stored.capabilities().keys() <= set(list_models())
    assert all(entry.cls == model_info(name).cls for name, entry in stored.capabilities().items())
    assert {"torch", "processor", "machine", "date"} <= stored.environment().keys()


def test_every_model_has_its_multiply_adds():
    assert all(model_info(name).multiply_adds for name in list_models())


def test_what_is_counted_is_still_so():
    names = random.Random(0).sample(list(stored.capabilities()), 6)
    for name in names:
        entry = stored.capabilities()[name]
        assert capabilities.count_multiply_adds(name) == stored.multiply_adds(name)
        assert capabilities.count_bytes_per_pixel(name) == pytest.approx(entry.bytes_per_pixel, abs=0.01)
        halo = capabilities._outline(name).spec.halo
        assert (entry.tiles == "exact") == (halo is not None)


def test_what_is_measured_is_still_so():
    found, entry = capabilities.measure("fsrcnn_x3"), stored.capabilities()["fsrcnn_x3"]
    assert (found.tiles, found.reach, found.compile, found.export) == (entry.tiles, entry.reach, entry.compile, entry.export)
    assert found.bfloat16 == pytest.approx(entry.bfloat16, abs=1) and found.float16 == pytest.approx(entry.float16, abs=1)


def test_a_measurement_is_entered_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(capabilities, "count_multiply_adds", lambda name: 1)
    file = tmp_path / "capabilities.json"
    lines = []

    def tell(line):
        lines.append(line)  # and another process writes, while this one measures
        file.write_text(json.dumps({"networks": {"nafnet_sidd_width32": {"cls": "NAFNet"}, "gone": {}}}))

    file.write_text(json.dumps({"networks": {}}))
    capabilities.write(["fsrcnn_x2"], file, tell)
    content = json.loads(file.read_text())
    assert list(content["networks"]) == ["fsrcnn_x2", "nafnet_sidd_width32"] and lines == ["1 of 1: fsrcnn_x2"]
    assert set(content["multiply_adds"]) == set(list_models())


def test_memory_of_a_class_is_that_of_its_largest_network():
    entries = [entry.bytes_per_pixel for entry in stored.capabilities().values() if entry.cls == "NAFNet"]
    assert stored.bytes_per_pixel("NAFNet") == max(entries) and stored.bytes_per_pixel("nobody") is None


def test_the_command_shows_the_table():
    result = CliRunner().invoke(cli.app, ["capabilities", "fsrcnn_x*"])
    assert result.exit_code == 0 and "tiles exact within 8 px" in result.stdout and "one graph" in result.stdout
    entries = json.loads(CliRunner().invoke(cli.app, ["capabilities", "--json"]).stdout)
    assert len(entries) == len(stored.capabilities())
    assert CliRunner().invoke(cli.app, ["capabilities", "zzz*"]).exit_code == 1
