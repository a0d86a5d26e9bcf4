"""Which models are listed as fast: by a clock of the test's own, never by the machine's."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from restoralib import cli, realtime
from restoralib.realtime import find_realtime
from restoralib.zoo.measured import multiply_adds


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only in convolutions and in calls of restore: a second for each 10^9 multiply-adds of the network."""

    class Clock:
        now, speed = 0.0, 100.0

        def __call__(self):
            return self.now

    clock = Clock()
    clock.calls = []
    built = {}

    def create_model(name, weights=None):
        clock.calls.append(name)
        net = real(name, weights=weights)
        built[net] = name
        return net

    def restore(image, net, **options):
        clock.now += multiply_adds(built[net]) / 1e9 / clock.speed

    def convolution_rate(device, clock):
        return 40e9 * clock.speed

    real = realtime.create_model
    monkeypatch.setattr(realtime, "create_model", create_model)
    monkeypatch.setattr(realtime, "restore", restore)
    monkeypatch.setattr(realtime, "placed", lambda net, *rest: net)
    monkeypatch.setattr(realtime, "_convolution_rate", convolution_rate)
    return clock


NAMES = ["fsrcnn_x2", "fsrcnn_x4", "zero_dce", "nafnet_gopro_width64", "zero_dce_pp", "adm_ffhq_10m"]


def test_fast_models_come_first_and_the_cost_alone_rules_others_out(clock):
    clock.speed = 1.0
    found = find_realtime(NAMES, rate=0.5, clock=clock)
    costs = {name: multiply_adds(name) for name in NAMES}
    assert {speed.model for speed in found.speeds} == {name for name in NAMES[:5] if costs[name] <= 2e9}
    rates = [speed.images_per_second for speed in found.speeds + found.slower]
    assert rates == sorted(rates, reverse=True)
    assert all(speed.images_per_second == pytest.approx(1e9 / speed.multiply_adds) for speed in found.speeds + found.slower)
    assert all(speed.images_per_second < 0.5 for speed in found.slower) and found.speeds
    assert found.hopeless == tuple(name for name in ("nafnet_gopro_width64",) if costs[name] > 80e9)
    assert "adm_ffhq_10m" not in clock.calls  # restores no image by itself


def test_a_budget_ends_the_search(clock):
    found = find_realtime(NAMES, rate=20, budget=1e-6, clock=clock)
    measured = [speed.model for speed in (*found.speeds, *found.slower)]
    assert len(clock.calls) == 1 and set(found.left) == set(NAMES[:5]) - set(measured) - set(found.hopeless)


def test_configurations_with_several_names_are_measured_once(clock):
    names = ["dncnn_15", "dncnn_25", "dncnn_50"]
    found = find_realtime(names, rate=0.01, clock=clock)
    assert len(clock.calls) == 1 and len({speed.images_per_second for speed in found.speeds}) == 1 and len(found.speeds) == 3


def test_absurd_numbers_and_names_are_refused():
    with pytest.raises(ValueError, match="should be positive, got 0"):
        find_realtime(rate=0)
    with pytest.raises(ValueError, match="unknown model 'fsrcnn_x9'"):
        find_realtime(["fsrcnn_x9"])


def test_the_real_clock_measures_the_smallest_network():
    found = find_realtime(["fsrcnn_x4"], rate=1e-3, side=32, device="cpu")
    (speed,) = found.speeds
    assert speed.model == "fsrcnn_x4" and speed.images_per_second > 0


def test_the_command_lists_what_was_found(clock, monkeypatch):
    monkeypatch.setattr(realtime, "find_realtime", lambda names, **options: find_realtime(names, clock=clock, **options))
    shown = CliRunner().invoke(cli.app, ["models", "--realtime", "fsrcnn_x*"])
    assert shown.exit_code == 0 and shown.output.count("images/s") == 3 and "fsrcnn_x2" in shown.output
    listed = json.loads(CliRunner().invoke(cli.app, ["models", "--realtime", "--json", "fsrcnn_x4"]).output)
    assert [entry["model"] for entry in listed] == ["fsrcnn_x4"] and listed[0]["images_per_second"] > 20
    none = CliRunner().invoke(cli.app, ["models", "--realtime", "nafnet_gopro_width64"])
    assert none.exit_code == 1 and "no model of these" in none.output
