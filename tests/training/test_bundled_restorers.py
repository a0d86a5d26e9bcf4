"""The recipe of the bundled restorers: what it draws depends on seed and number alone, and it learns."""

import pytest
import torch
from PIL import Image

from restoralib import load_model
from restoralib.training import restorers
from restoralib.training.restorers import REGION, Regions


def photographs(count=3):
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, REGION, REGION + 9, generator=generator) * 255).to(torch.uint8) for _ in range(count)]


def test_an_item_depends_on_the_seed_and_its_number_alone():
    images = photographs()
    one, other = (Regions(images, ("denoise", "jpeg"), kept=4, fresh=0.5) for _ in range(2))
    forwards = [one(number, 24) for number in range(12)]
    backwards = [other(number, 24) for number in reversed(range(12))][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        assert torch.equal(first["degraded"], second["degraded"]) and torch.equal(first["clean"], second["clean"])
    assert not torch.equal(forwards[0]["clean"], Regions(images, ("denoise", "jpeg"), kept=4, seed=1)(0, 24)["clean"])
    assert len(one.regions) <= 2 * 4


def test_items_are_patches_of_both_sides():
    item = Regions(photographs(), ("derain",), kept=2)(0, 40)
    assert item["degraded"].shape == item["clean"].shape == (3, 40, 40)
    assert item["degraded"].min() >= 0 and item["clean"].max() <= 1 and not torch.equal(item["degraded"], item["clean"])


@pytest.mark.parametrize("task", [["jpeg", "defocus"], ["mixed"]])
def test_the_recipe_writes_weights_that_load(task, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, image in enumerate(photographs(3)):
        Image.fromarray(image.movedim(0, -1).numpy()).save(folder / f"{number}.png")
    out = tmp_path / "net.safetensors"
    short = ["--batch", "2", "--patch", "24", "--judged", "1"]
    restorers.main([str(folder), "--task", *task, "--steps", "2", *short, "--out", str(out)])
    net = load_model(out)
    assert net.spec.scale == 1 and net(torch.rand(1, 3, 9, 7)).shape == (1, 3, 9, 7)
    again = tmp_path / "again.safetensors"
    restorers.main([str(folder), "--task", "jpeg", "--steps", "0", *short, "--out", str(again), "--init", str(out)])
    for key, value in load_model(again).state_dict().items():
        assert torch.equal(value, net.state_dict()[key])
