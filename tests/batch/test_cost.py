"""The cost model, by arithmetic that can be done in one's head."""

from __future__ import annotations

import math

import pytest

from restoralib.batch import cost


def test_the_slowest_part_sets_the_pace():
    given = {"model_seconds": 0.01, "read_seconds": 0.003, "write_seconds": 0.007, "cores": 16}
    run = cost(3_600_000, devices=1, **given)
    assert run.saturates == "model" and run.images_per_second == pytest.approx(100)
    assert run.rates == pytest.approx({"model": 100, "codecs": 1600, "network": math.inf, "storage": math.inf})
    assert (run.hours, run.device_hours, run.images_per_device_hour) == pytest.approx((10, 10, 360_000))
    assert cost(1, devices=32, **given).saturates == "codecs"
    moved = {"bytes_read": 1e5, "bytes_written": 4e5, "network": 2.5e7}
    assert cost(1, devices=1, **given, **moved).rates["network"] == pytest.approx(50)
    assert cost(1, devices=1, **given, **moved).saturates == "network"


def test_machines_share_the_storage_until_it_is_full():
    given = {"model_seconds": 0.01, "devices": 1, "bytes_read": 5e5, "storage": 1e9, "price": 2.0}
    four, hundred = cost(1e9, machines=4, **given), cost(1e9, machines=100, **given)
    assert four.images_per_second == pytest.approx(400) and four.saturates == "model"
    assert hundred.images_per_second == pytest.approx(2000) and hundred.saturates == "storage"
    assert four.most_machines == hundred.most_machines == pytest.approx(20)
    assert four.price == pytest.approx(2 * four.device_hours) == pytest.approx(2 * 4 * four.hours)


def test_cores_without_devices_do_all_the_work():
    run = cost(3600, model_seconds=0.06, read_seconds=0.02, write_seconds=0.02, cores=2)
    assert run.saturates == "model" and run.images_per_second == pytest.approx(20)
    assert run.device_hours == run.hours == pytest.approx(0.05)


def test_numbers_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="devices, model_seconds should be positive"):
        cost(1, model_seconds=0, devices=-1)
    with pytest.raises(ValueError, match="images should be positive"):
        cost(math.nan, model_seconds=1)
