"""The loop: exact resume, turns, accumulation, half precision, several processes, logs, and what ends a run."""

import copy
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from restoralib.restoration import OutOfMemory
from restoralib.training.batches import Batches, Stage
from restoralib.training.loop import Schedule, Share, StateError, Turn, save_atomically, train, train_together
from restoralib.training.machine import Accelerated, Machine, Sharded, find_machine

SCHEDULE = Schedule(steps=12, rate=1e-2, warmup=3)


def small_net(*, dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 1))


def fit(net, generator):
    x = torch.rand(8, 2, generator=generator)
    return (net(x) - x.sum(1, keepdim=True)).square().mean()


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def draw(number, patch):
    generator = torch.Generator().manual_seed(number)
    return {"x": torch.rand(patch, generator=generator)}


SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
from restoralib.training.batches import Batches, Stage
from restoralib.training.loop import Schedule, Turn, train_together
from restoralib.training.sharding import gathered

folder, batch, accumulate, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(0.2 if pause else 0.0), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
judge = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8 * 16, 1))

def draw(number, patch):
    generator = torch.Generator().manual_seed(number)
    clean = torch.rand(3, patch, patch, generator=generator)
    return {"clean": clean, "degraded": clean + 0.1 * torch.randn(clean.shape, generator=generator)}

def restore(nets, batch):
    time.sleep(pause)
    restored = nets["net"](batch["degraded"])
    batch["restored"] = restored.detach()
    return (restored - batch["clean"]).square().mean() - 1e-2 * nets["judge"](restored).mean()

def judging(nets, batch):
    real = nets["judge"](batch["clean"])
    return (nets["judge"](batch["restored"]) - real).mean() + real.square().mean()

schedule = Schedule(10, rate=1e-2, warmup=2)
turns = {"net": Turn(restore, schedule), "judge": Turn(judging, schedule)}
source = Batches(draw, (Stage(0, 8, batch), Stage(6, 8, batch)))
options = {"checkpoint": folder / "state.pt", "every": 2, "accumulate": accumulate, "shard": "SHARD" in os.environ}
options["progress"] = lambda done, *_: os._exit(0) if str(done) == os.environ.get("STOP") else None
options["validate"] = lambda net: -float(net(torch.ones(1, 3, 8, 8)).detach().square().mean())
averages = train_together({"net": net, "judge": judge}, turns, source, **options)
weights = gathered({"net": dict(net.state_dict()), "judge": dict(judge.state_dict())})
weights["average"] = averages["net"].state_dict()
if os.environ.get("RANK", "0") == "0":
    torch.save(weights, folder / "weights.pt")
"""


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(folder, batch, accumulate=1, pause=0.0, launcher=(), **variables):
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(script), str(folder), str(batch), str(accumulate), str(pause)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen([sys.executable, *launcher, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, folder):
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    return torch.load(folder / "weights.pt", weights_only=True)


def largest_difference(first, second):
    pairs = [(first[name][key], second[name][key]) for name in first for key in first[name]]
    return max(float((a - b).abs().max()) for a, b in pairs)


def run_here(folder, batch, pause):
    """The script in this process, which spares an import of torch."""
    threads, arguments = torch.get_num_threads(), sys.argv
    folder.mkdir(exist_ok=True)
    sys.argv = ["script.py", str(folder), str(batch), "1", str(pause)]
    try:
        exec(compile(SCRIPT, "script.py", "exec"), {})
    finally:
        sys.argv = arguments
        torch.set_num_threads(threads)
    return torch.load(folder / "weights.pt", weights_only=True)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    whole = run_here(tmp_path / "whole", 2, 0.001)
    folder = tmp_path / "killed"
    process = start(folder, 2, pause=0.2)
    for _ in range(3000):
        if (folder / "state.pt").exists():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 2 <= torch.load(folder / "state.pt", weights_only=True)["step"] < 10
    assert largest_difference(whole, run_here(folder, 2, 0.001)) == 0


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_twice_the_batch(tmp_path):
    pytest.importorskip("accelerate")
    one = finish(start(tmp_path / "one", 4), tmp_path / "one")
    two = finish(start(tmp_path / "two", 2, launcher=TWO), tmp_path / "two")
    assert largest_difference(one, two) < 1e-5


@pytest.mark.slow
def test_two_processes_that_share_the_weights_give_those_of_one_and_go_on_exactly(tmp_path):
    pytest.importorskip("accelerate")
    one = run_here(tmp_path / "one", 4, 0.0)
    whole = finish(start(tmp_path / "whole", 1, 2, launcher=TWO, SHARD="1"), tmp_path / "whole")
    assert largest_difference(one, whole) < 1e-5
    stopped = start(tmp_path / "stopped", 1, 2, launcher=TWO, SHARD="1", STOP="7")
    _, errors = stopped.communicate(timeout=900)
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["step"] == 6, errors
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "stopped" / "state.pt", tmp_path / "alone" / "state.pt")
    resumed = finish(start(tmp_path / "stopped", 1, 2, launcher=TWO, SHARD="1"), tmp_path / "stopped")
    assert largest_difference(whole, resumed) == 0
    # The state is whole: one process goes on with it, and so do two.
    assert largest_difference(one, run_here(tmp_path / "alone", 4, 0.0)) < 1e-5


def test_accumulated_batches_give_the_weights_of_one_large_batch(tmp_path):
    def run(batch, accumulate, folder):
        net = nn.Linear(3, 1)
        nn.init.constant_(net.weight, 0.1)
        nn.init.zeros_(net.bias)
        turns = {"net": Turn(lambda nets, b: (nets["net"](b["x"]) - b["x"].sum(1, True)).square().mean(), SCHEDULE)}
        source = Batches(draw, (Stage(0, 3, batch), Stage(5, 3, 2 * batch)))
        train_together({"net": net}, turns, source, checkpoint=folder, accumulate=accumulate)
        return net

    one, two = run(4, 1, tmp_path / "a.pt"), run(2, 2, tmp_path / "b.pt")
    torch.testing.assert_close(one.weight, two.weight, rtol=0, atol=1e-6)


def test_every_process_sees_its_share_of_the_same_items():
    batches = Batches(draw, (Stage(0, 1, 4), Stage(2, 1, 2)))
    whole = batches(0, Share())
    expected = [sorted(next(whole)["x"].flatten().tolist()) for _ in range(4)]
    halves = Batches(draw, (Stage(0, 1, 2), Stage(2, 1, 1)))
    sides = [halves(0, Share(rank, 2)) for rank in range(2)]
    for step in range(4):
        found = sorted(value for side in sides for value in next(side)["x"].flatten().tolist())
        assert found == expected[step]
    resumed = batches(3, Share())
    assert sorted(next(resumed)["x"].flatten().tolist()) == expected[3]
    with pytest.raises(ValueError, match="begin at step 0"):
        Batches(draw, (Stage(1, 1, 1),))


def test_workers_draw_the_same_items():
    stages = (Stage(0, 2, 3), Stage(1, 4, 2))
    alone, helped = Batches(draw, stages)(0, Share()), Batches(draw, stages, workers=1)(0, Share())
    for _ in range(3):
        assert torch.equal(next(alone)["x"], next(helped)["x"])


def test_dropout_is_seeded_by_the_step_and_the_callers_generator_is_left_alone(tmp_path):
    whole, stopped = small_net(dropout=0.5), small_net(dropout=0.5)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    average = train(whole, fit, SCHEDULE, checkpoint=tmp_path / "whole.pt", every=4)
    assert torch.equal(torch.rand(1), expected)
    calls = []

    def dies(net, generator):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return fit(net, generator)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, dies, SCHEDULE, checkpoint=tmp_path / "part.pt", every=4)
    resumed = small_net(dropout=0.5)
    assert same(average, train(resumed, fit, SCHEDULE, checkpoint=tmp_path / "part.pt", every=4))
    assert same(whole, resumed)
    assert torch.equal(average[1].running_mean, whole[1].running_mean), "the average takes the running statistics over"


def test_a_state_of_the_former_layout_is_read(tmp_path):
    net = small_net()
    train(net, fit, SCHEDULE, checkpoint=tmp_path / "new.pt", every=4)
    state = torch.load(tmp_path / "new.pt", weights_only=True)
    former = {key: state["parts"]["net"][key] for key in ("net", "average", "optimizer")} | {"step": state["step"]}
    save_atomically(former, tmp_path / "former.pt")
    again = small_net()
    train(again, fit, SCHEDULE, checkpoint=tmp_path / "former.pt", every=4)
    assert same(net, again)


def test_only_the_one_whose_turn_it_is_learns(tmp_path):
    nets = {"one": nn.Linear(2, 2), "other": nn.Linear(2, 1)}
    nets["one"].bias.requires_grad_(False)
    bias = nets["one"].bias.clone()
    seen = []

    def first(nets, batch):
        seen.append([p.requires_grad for net in nets.values() for p in net.parameters()])
        return nets["other"](nets["one"](torch.ones(1, 2))).square().mean()

    def second(nets, batch):
        seen.append([p.requires_grad for net in nets.values() for p in net.parameters()])
        return nets["other"](nets["one"](torch.ones(1, 2))).mean()

    schedule = Schedule(1)
    turns = {"one": Turn(first, schedule), "other": Turn(second, schedule)}
    train_together(nets, turns, lambda step, share: iter([0]), checkpoint=tmp_path / "s.pt")
    assert seen == [[True, False, False, False], [False, False, True, True]]
    assert torch.equal(nets["one"].bias, bias), "what was frozen before stays so"
    assert [p.requires_grad for net in nets.values() for p in net.parameters()] == [True, False, True, True]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(tmp_path, precision):
    net, types = small_net(), []

    def loss(net, generator):
        x = torch.rand(8, 2, generator=generator)
        types.append(net[0](x).dtype)
        return (net(x).float() - x.sum(1, keepdim=True)).square().mean()

    before = fit(copy.deepcopy(net), torch.Generator().manual_seed(9)).item()
    train(net, loss, Schedule(40, 3e-2, warmup=0), checkpoint=tmp_path / "s.pt", precision=precision)
    assert set(types) == {getattr(torch, precision)}
    assert fit(net, torch.Generator().manual_seed(9)).item() < before / 2
    state = torch.load(tmp_path / "s.pt", weights_only=True)["parts"]["net"]["scaler"]
    assert bool(state) == (precision == "float16")


def test_logs_hold_every_step_once_even_if_the_run_was_cut(tmp_path):
    pictures = {"pair0": torch.rand(3, 4, 12)}
    options = {"log": tmp_path / "log", "validate": lambda net: 7.0, "pictures": lambda net: pictures}
    train(small_net(), fit, Schedule(4), checkpoint=tmp_path / "s.pt", every=2, **options)
    (tmp_path / "s.pt").rename(tmp_path / "at4.pt")
    train(small_net(), fit, Schedule(8), checkpoint=tmp_path / "s.pt", every=2, **options)  # logs steps 2 to 8
    (tmp_path / "at4.pt").rename(tmp_path / "s.pt")
    done = []
    train(small_net(), fit, Schedule(8), checkpoint=tmp_path / "s.pt", every=2, progress=lambda *a: done.append(a), **options)
    with (tmp_path / "log" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert all(float(row["loss"]) > 0 and row["validation"] == "7" for row in rows)
    assert sorted(p.name for p in (tmp_path / "log" / "pictures").iterdir())[0] == "0000002_pair0.png"
    assert [(a, b) for a, b, _ in done] == [(5, 8), (6, 8), (7, 8), (8, 8)] and done[-1][2].startswith("loss ")


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    train(small_net(), fit, Schedule(2), checkpoint=tmp_path / "s.pt", every=1, log=tmp_path / "log", tensorboard=True)
    assert list((tmp_path / "log").glob("events.out.tfevents.*"))


def test_a_full_disk_keeps_the_last_state(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    path = tmp_path / "s.pt"
    train(small_net(), fit, Schedule(2), checkpoint=path, every=2)
    before = path.read_bytes()
    (tmp_path / "s.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot save .*s\.pt \(the disk is full\); the state that was saved before"):
        train(small_net(), fit, Schedule(4), checkpoint=path, every=2)
    assert path.read_bytes() == before
    assert not (tmp_path / "s.pt.part").is_symlink()
    train(small_net(), fit, Schedule(4), checkpoint=path, every=2)
    assert torch.load(path, weights_only=True)["step"] == 4


def test_states_of_other_networks_and_damaged_ones_are_refused_in_words(tmp_path):
    path = tmp_path / "s.pt"
    train(small_net(), fit, Schedule(1), checkpoint=path)
    wider = nn.Sequential(nn.Linear(2, 9), nn.BatchNorm1d(9), nn.Dropout(), nn.Tanh(), nn.Linear(9, 1))
    with pytest.raises(StateError, match=r"another network: it has 0\.weight \(8, 2\), the one that is trained has \(9, 2\)"):
        train(wider, fit, Schedule(2), checkpoint=path)
    with pytest.raises(StateError, match=r"it has 1\.weight \(8,\), the one that is trained has none"):
        train(nn.Sequential(nn.Linear(2, 8)), fit, Schedule(2), checkpoint=path)
    turns = {"other": Turn(lambda nets, batch: torch.zeros(()), Schedule(1))}
    with pytest.raises(StateError, match="is the state of net, this run trains other"):
        train_together({"other": small_net()}, turns, lambda step, share: iter([0]), checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StateError, match="cannot be read as the state of a run"):
        train(small_net(), fit, Schedule(2), checkpoint=path)
    torch.save({"params": torch.ones(1)}, path)
    with pytest.raises(StateError, match="holds no state of a run"):
        train(small_net(), fit, Schedule(2), checkpoint=path)


def test_too_large_a_batch_is_told_what_to_lower(tmp_path):
    def loss(nets, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    turns = {"net": Turn(loss, Schedule(1))}
    with pytest.raises(OutOfMemory, match=r"a batch of \(5, 3\) does not fit .* lower the batch and raise accumulate, now 1"):
        train_together({"net": small_net()}, turns, Batches(draw, (Stage(0, 3, 5),)), checkpoint=tmp_path / "s.pt")


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path):
    path = tmp_path / "s.pt"
    train(small_net(), fit, Schedule(1), checkpoint=path)
    with pytest.raises(FloatingPointError, match=r"the loss is nan by step 2; .* is from before"):
        train(small_net(), lambda net, generator: fit(net, generator) * float("nan"), Schedule(3), checkpoint=path, every=1)
    assert torch.load(path, weights_only=True)["step"] == 1


def test_bad_arguments_are_told(tmp_path):
    run = {"checkpoint": tmp_path / "s.pt"}
    with pytest.raises(ValueError, match="expected accumulate and every of 1 or more"):
        train(small_net(), fit, Schedule(1), accumulate=0, **run)
    with pytest.raises(ValueError, match="every network takes a turn"):
        train_together({}, {}, lambda step, share: iter([]), **run)
    nets = {"a": small_net(), "b": small_net()}
    turns = {name: Turn(lambda nets, batch: 0, Schedule(steps)) for steps, name in enumerate(nets, 1)}
    with pytest.raises(ValueError, match="the same number of steps"):
        train_together(nets, turns, lambda step, share: iter([]), **run)
    with pytest.raises(ValueError, match="rate above 0"):
        Schedule(1, rate=0)
    with pytest.raises(ValueError, match="decay from 0 to 1"):
        Schedule(1, decay=2)


def test_several_processes_need_accelerate(monkeypatch):
    assert type(find_machine(torch.device("cpu"))) is Machine
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'pip install "restoralib\[train\]"'):
        find_machine(torch.device("cpu"))


def accelerator(kind, *, second=True, processes=2):
    """What the loop asks of accelerate's Accelerator."""
    about = {"process_index": 0, "num_processes": processes, "is_fsdp2": second}
    return SimpleNamespace(distributed_type=SimpleNamespace(value=kind), **about)


def test_what_cuts_weights_up_is_taken_or_refused_by_name(tmp_path):
    device = torch.device("cpu")
    assert type(find_machine(device, accelerator("MULTI_GPU"))) is Accelerated
    assert type(find_machine(device, accelerator("MULTI_GPU"), shard=True)) is Sharded
    assert type(find_machine(device, accelerator("FSDP"))) is Sharded
    assert type(find_machine(device, accelerator("NO", processes=1), shard=True)) is Accelerated, "one has all"
    assert type(find_machine(device, shard=True)) is Machine
    with pytest.raises(ValueError, match="set fsdp_version: 2"):
        find_machine(device, accelerator("FSDP", second=False))
    with pytest.raises(ValueError, match="not by DEEPSPEED"):
        find_machine(device, accelerator("DEEPSPEED"))
    schedule = Schedule(2, optimizer="muon")
    with pytest.raises(ValueError, match="Muon turns whole matrices, which sharding cuts up"):
        train(small_net(), fit, schedule, checkpoint=tmp_path / "s.pt", accelerator=accelerator("FSDP"))


def test_schedules_of_the_papers():
    steps = Schedule(500_000, 2e-4, warmup=0, decay=0, milestones=(250_000, 400_000, 450_000, 475_000))
    rates = [steps.rate_at(step) for step in (0, 249_999, 250_000, 460_000, 499_999)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 2.5e-5, 1.25e-5])
    cosine = Schedule(1000, 1e-3, warmup=0, decay=1, floor=1e-7)
    assert [cosine.rate_at(step) for step in (0, 500, 1000)] == pytest.approx([1e-3, (1e-3 + 1e-7) / 2, 1e-7])
