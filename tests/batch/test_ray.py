"""Ray Data: actors with the model loaded once, ragged images, errors as data, an actor that is killed."""

from __future__ import annotations

import builtins
import os

import numpy as np
import pytest
import torch
from torch import nn

from restoralib import restore
from restoralib.archs import NetSpec
from restoralib.batch import restore_dataset


def test_without_ray_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def absent(name, *arguments, **options):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r'pip install "restoralib\[ray\]"'):
        restore_dataset(None, "sr2")


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    # On a busy machine its processes take longer to start than it waits for.
    os.environ.setdefault("RAY_agent_register_timeout_ms", "600000")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def pictures(count):
    draw = np.random.default_rng(0)
    return [draw.integers(1, 256, (8 + number % 3, 9, 3), np.uint8) for number in range(count)]


@pytest.mark.slow
def test_actors_restore_ragged_images_and_tell_errors(ray, checkpoint):
    images = pictures(24)
    images[5] = np.zeros((8, 9, 5), np.uint8)  # nobody's channels
    ds = ray.data.from_items([{"image": image, "id": number} for number, image in enumerate(images)])
    rows = {row["id"]: row for row in restore_dataset(ds, str(checkpoint), actors=2, batch_size=4).take_all()}
    assert rows.keys() == set(range(24))
    for number, image in enumerate(images):
        if number == 5:
            assert "1 to 4 channels" in rows[5]["error"] and rows[5]["restored"].shape[:2] == (0, 0)
            continue
        assert rows[number]["error"] == ""
        assert np.abs(rows[number]["restored"].astype(int) - restore(image, str(checkpoint))).max() <= 1


class Dying(nn.Module):
    """Kills its own process once, in the middle of the run."""

    spec = NetSpec()

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder, self.calls = folder, 0

    def forward(self, image):
        self.calls += 1
        if self.calls == 3:
            try:
                os.close(os.open(os.path.join(self.folder, "killed"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), 9)
        return 1 - image


@pytest.mark.slow
def test_an_actor_that_is_killed_loses_no_image(ray, tmp_path):
    # Actors cannot import this file, so its class goes with the dataset.
    ray.cloudpickle.register_pickle_by_value(__import__(__name__))
    images = [image[:8] for image in pictures(40)]
    ds = ray.data.from_items([{"image": image, "id": number} for number, image in enumerate(images)], override_num_blocks=10)
    done = restore_dataset(ds, Dying(str(tmp_path)).eval(), actors=2, num_cpus=1, batch_size=4, batch=1).take_all()
    assert (tmp_path / "killed").exists()
    rows = {row["id"]: row for row in done}
    assert len(done) == 40 and rows.keys() == set(range(40))
    for number, image in enumerate(images):
        assert rows[number]["error"] == "" and np.array_equal(rows[number]["restored"], 255 - image)
    assert torch.equal(Dying("").eval()(torch.zeros(1)), torch.ones(1))
