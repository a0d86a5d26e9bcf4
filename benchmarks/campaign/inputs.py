"""(a) Hostile inputs through `restore()` and the command line."""

from __future__ import annotations

import collections
import gc
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase
from typer.testing import CliRunner

from campaign import judge, models, objects
from campaign.files import hostile_file
from campaign.process import environment, forget_peak, open_files, resident, say, status, worker
from restoralib import cli, restore

# How many inputs of each kind, and in chunks of how many, each of which is a process of its own.
COUNTS = {"file": 4000, "pillow": 900, "array": 850, "tensor": 850, "place": 200, "cli": 2800, "process": 400}
CHUNKS = {"file": 2000, "pillow": 900, "array": 850, "tensor": 850, "place": 200, "cli": 1400, "process": 100}
TOGETHER = 10  # files of one call of the command line
WARM = 500  # inputs before memory is compared
MAX_PIXELS = 2**22


class Bench:
    """What a worker restores with, made once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoints = models.write_checkpoints(folder / "models")
        self.nets = {
            "blur": models.Blur().eval(),
            "nafnet": models.small_nafnet(),
            "fsrcnn": models.small_fsrcnn(),
            "sr2": "sr2",
        }
        self.errors = []
        logger = logging.getLogger("restoralib")  # whose parts tell what is behind the lines of the command line
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(Caught(self.errors))

    def net(self, random, names=("blur", "blur", "nafnet", "fsrcnn", "sr2")):
        name = random.choice(names)
        return name, self.nets[name], models.SCALES[name]

    def restore(self, source, net, expected, scale, options):
        """A verdict on one call."""
        try:
            result = restore(source, net, **{"max_pixels": MAX_PIXELS, **options})
        except Exception as error:
            return judge.judge_error(error)
        return judge.judge_result(result, source, expected, scale, options.get("alpha") == "drop")

    def command(self, sources: list[Path], random, given=None):
        """Verdicts on `restoralib restore` in this process, for each of the files.

        Args:
            sources: the files that it will find.
            random: chooses model and options.
            given: its arguments, where they are not those files.
        """
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        name = random.choice(("nafnet", "nafnet", "fsrcnn", "sr2"))
        extra = random.choice(
            ((), (), (), ("--format", "png"), ("--alpha", "model"), ("--tile", "16"), ("--no-keep-metadata",))
        )
        expected = [judge.expected_of_file(source) for source in sources]
        self.errors.clear()
        arguments = ["restore", "-o", out, "--max-pixels", MAX_PIXELS, *self.checkpoints[name], *extra]
        arguments += ["--", *(given or sources)]
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            return [judge.Verdict("fault", f"the command raised {result.exception!r}")] * len(sources)
        there = sorted(out.iterdir()) if out.is_dir() else []
        if any(file.suffix == ".part" for file in there):
            return [judge.Verdict("fault", "a part of a file is left")] * len(sources)
        said = result.output
        faults = [verdict for verdict in map(judge.judge_error, self.errors) if verdict.kind == "fault"]
        verdicts = []
        for source, wanted in zip(sources, expected, strict=True):
            targets = [file for file in there if file.stem == source.stem and not file.name.startswith(".")]
            failed = f"failed: {source}" in said or result.output.startswith("error: ")
            if bool(targets) == failed or (failed and result.exit_code != 1) or len(targets) > 1:
                verdict = judge.Verdict("fault", f"exit code {result.exit_code}, wrote {targets}: {said[-300:]}")
            elif failed:
                words = said.partition(f"failed: {source}")[2].partition("\n")[0]
                refused = judge.Verdict("refused", words or said)
                verdict = next((fault for fault in faults if source.name in fault.words), refused)
            else:
                try:
                    verdict = judge.judge_written(targets[0], wanted, models.SCALES[name])
                except Exception as error:
                    verdict = judge.Verdict("fault", f"what was written cannot be read: {error!r}")
            verdicts.append(verdict)
        # An error whose words name no file belongs to one of them all the same.
        if faults and all(verdict.kind != "fault" for verdict in verdicts):
            verdicts[0] = faults[0]
        return verdicts


class Caught(logging.Handler):
    """Keeps the errors behind the lines that the command line prints."""

    def __init__(self, errors):
        super().__init__()
        self.errors = errors

    def emit(self, record):
        if record.exc_info:
            self.errors.append(record.exc_info[1])


def again(folder, count, seed):
    """The same inputs again: what memory and files that takes beyond the first time, in a worker.

    New sizes fill the cache of oneDNN, which keeps what it compiled for the last 1024; it does not grow with the same ones.
    """
    warnings.simplefilter("ignore")
    bench = Bench(folder)
    for turn in range(2):
        for number in range(count):
            for kind in ("file", "pillow"):
                CASES[kind](bench, Random(f"{seed} {kind} {number}"), number)
            if number % (10 * TOGETHER) == 0:
                made = [hostile_file(Random(f"{seed} cli {number + n}"), bench.folder, f"image{n}")[0] for n in range(TOGETHER)]
                bench.command(made, Random(number))
        if turn == 0:
            memory, files = resident(), open_files()
    say(inputs=2 * count + count // 10, memory=resident() - memory, files=open_files() - files)


def file_case(bench, random, number):
    path, words = hostile_file(random, bench.folder)
    name, net, scale = bench.net(random)
    options = objects.hostile_options(random)
    expected = judge.expected_of_file(path)
    verdict = bench.restore(random.choice((path, str(path))), net, expected, scale, options)
    path.unlink()
    return f"{words}; {name} {options}", verdict


def pillow_case(bench, random, number):
    image, words = objects.hostile_pillow(random)
    name, net, scale = bench.net(random)
    options = objects.hostile_options(random)
    expected = judge.expected_of_image(image)
    return f"{words}; {name} {options}", bench.restore(image, net, expected, scale, options)


def place_case(bench, random, number):
    """Paths that lead to no image, by `restore` and by the command line, and objects that are none."""
    places = objects.odd_paths(bench.folder / "odd")
    if number % 4 == 0:
        source = objects.OTHER_OBJECTS[number // 4 % len(objects.OTHER_OBJECTS)]
        return f"{source!r:.60}", bench.restore(source, bench.nets["blur"], judge.Expected(), 1, {})
    source = places[number % len(places)]
    if number % 4 == 1 and source not in ("/", str(bench.folder / "odd")):
        (verdict,) = bench.command([Path(source)], random, [source])
        return f"command line: {source!r:.60}", verdict
    return f"{source!r:.60}", bench.restore(source, bench.nets["blur"], judge.Expected(), 1, {})
    source = places[number % len(places)]
    if number % 4 == 1 and not source.startswith("-") and source not in ("~", "/", "/proc/self/mem"):
        # Without a suffix of an image: the folder of these places itself is read like any other.
        return f"command line: {source!r:.60}", bench.command(Path(source), random)
    return f"{source!r:.60}", bench.restore(source, bench.nets["blur"], judge.Expected(), 1, {})


CASES = {"file": file_case, "pillow": pillow_case, "place": place_case}


def run(kind, start, stop, seed):
    """Run inputs of a kind and say what came of each, in a worker."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", category=RuntimeWarning)
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        bench = Bench(Path(name))
        watch = Watch()
        if kind == "process":
            run_process(bench, start, stop, seed)
        elif kind == "cli":
            run_commands(bench, start, stop, seed, watch)
        elif kind in ("array", "tensor"):
            run_drawn(bench, kind, start, stop, seed, watch)
        else:
            for number in range(start, stop):
                watch.begin(number)
                random = Random(f"{seed} {kind} {number}")
                words, verdict = CASES[kind](bench, random, number)
                watch.end(number, words, verdict)
        say(rss_growth=watch.growth(), files_growth=watch.files_growth())


class Watch:
    """Memory and open files from input to input."""

    def __init__(self):
        self.done, self.base, self.base_files = 0, None, None

    def begin(self, number):
        if self.done == WARM:
            self.base, self.base_files = resident(), open_files()
        forget_peak()
        self.before = status("VmRSS")
        say(number=number)

    def end(self, number, words, verdict):
        self.done += 1
        say(number=number, source=words, kind=verdict.kind, words=verdict.words[:400], peak=status("VmHWM") - self.before)

    def growth(self):
        """Bytes since the first inputs; None where there were no more."""
        return None if self.base is None else resident() - self.base

    def files_growth(self):
        gc.collect()
        return None if self.base_files is None else open_files() - self.base_files


def run_drawn(bench, kind, start, stop, seed, watch):
    """Arrays and tensors that hypothesis draws."""
    number = start

    def one(image, dice):
        nonlocal number
        if number >= stop:
            return
        watch.begin(number)
        random = Random(dice)
        name, net, scale = bench.net(random)
        options = objects.hostile_options(random)
        verdict = bench.restore(image, net, judge.Expected(), scale, options)
        facts = (
            f"{type(image).__name__} {image.dtype} {tuple(image.shape)}" if not getattr(image, "is_nested", False) else "nested"
        )
        watch.end(number, f"{facts}; {name} {options}", verdict)
        number += 1

    drawn = {"array": objects.arrays, "tensor": objects.tensors}[kind]()
    test = hypothesis.given(drawn, hypothesis.strategies.integers(0, 2**32))(one)
    test = hypothesis.seed(seed * 1000 + start)(test)
    hypothesis.settings(
        max_examples=stop - start,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(test)()


def run_commands(bench, start, stop, seed, watch):
    """Files by the command line in this process, some at a time."""
    for first in range(start, stop, TOGETHER):
        numbers = range(first, min(first + TOGETHER, stop))
        watch.begin(first)
        random = Random(f"{seed} cli {first}")
        made = [hostile_file(Random(f"{seed} cli {number}"), bench.folder, f"image{number}") for number in numbers]
        verdicts = bench.command([path for path, _ in made], random)
        for number, (path, words), verdict in zip(numbers, made, verdicts, strict=True):
            watch.end(number, words, verdict)
            path.unlink()


def run_process(bench, start, stop, seed):
    """A folder of hostile files by a real process of the command line."""
    folder, out = bench.folder / "in", bench.folder / "out"
    folder.mkdir()
    sources = {}
    for number in range(start, stop):
        say(number=number)
        path, words = hostile_file(Random(f"{seed} process {number}"), folder, f"image{number}")
        sources[number] = path, words, judge.expected_of_file(path)
    command = [sys.executable, "-m", "restoralib", "restore", str(folder), *bench.checkpoints["nafnet"], "-o", str(out)]
    command += ["--max-pixels", str(MAX_PIXELS)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    trouble = done.returncode not in (0, 1) or "Traceback" in said or "Segmentation" in said
    for number, (path, words, expected) in sources.items():
        target = out / path.name
        failed = f"failed: {path}" in said
        if trouble or target.exists() == failed:
            verdict = judge.Verdict("fault", f"exit code {done.returncode}, written {target.exists()}: {said[-300:]}")
        elif failed:
            verdict = judge.Verdict("refused", said.partition(f"failed: {path}")[2].partition("\n")[0])
        else:
            verdict = judge.judge_written(target, expected, 1)
        say(number=number, source=words, kind=verdict.kind, words=verdict.words[:400], peak=0)


def campaign(counts, seed, log: Path, only=None):
    """Run all kinds in workers, going on where an earlier run stopped.

    Args:
        counts: inputs of each kind.
        seed: of all that is drawn.
        log: JSON lines, one for each input, and one for each chunk.
        only: kinds to run.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    finished = {tuple(entry["chunk"]) for entry in read_log(log) if "chunk" in entry}
    for kind, count in counts.items():
        if only and kind not in only:
            continue
        for start in range(0, count, CHUNKS[kind]):
            stop = min(start + CHUNKS[kind], count)
            if (kind, start, stop) in finished:
                continue
            run_chunk(kind, start, stop, seed, log)


def run_chunk(kind, start, stop, seed, log):
    """One chunk; a worker that dies is started again behind the input that killed it."""
    first, entries = start, []
    while first < stop:
        begun, last = None, first - 1
        died = None
        for entry in worker(run, kind, first, stop, seed, timeout=1200 if kind == "process" else 240):
            if "died" in entry:
                died = entry["died"]
            elif "kind" in entry:
                entries.append({"of": kind, **entry})
                last, begun = entry["number"], None
            elif "number" in entry:
                begun = entry["number"]
            else:
                entries.append({"of": kind, "growth": entry})
        if died is None:
            break
        at = last + 1 if begun is None else begun
        entries.append({"of": kind, "number": at, "source": "", "kind": "crash", "words": died, "peak": 0})
        first = at + 1
    with log.open("a") as file:
        for entry in entries:
            file.write(json.dumps(entry) + "\n")
        file.write(json.dumps({"chunk": [kind, start, stop]}) + "\n")


def read_log(log):
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def summary(log):
    """Figures of a log: counts by kind and outcome, the most memory, growth, and the faults."""
    entries = read_log(log)
    cases = [entry for entry in entries if "kind" in entry]
    counts = collections.defaultdict(collections.Counter)
    for case in cases:
        counts[case["of"]][case["kind"]] += 1
    chunks = [entry for entry in entries if "growth" in entry and entry["growth"].get("rss_growth") is not None]
    memory: dict[str, float] = {}
    files: dict[str, int] = {}
    for entry in chunks:  # the worst of each kind
        memory[entry["of"]] = max(memory.get(entry["of"], 0), round(entry["growth"]["rss_growth"] / 2**20, 2))
        files[entry["of"]] = max(files.get(entry["of"], 0), entry["growth"]["files_growth"])
    return {
        "inputs": len(cases),
        "outcomes": {kind: dict(sorted(counter.items())) for kind, counter in counts.items()},
        "restored": sum(case["kind"] == "restored" for case in cases),
        "refused": sum(case["kind"] == "refused" for case in cases),
        "faults": sum(case["kind"] in ("fault", "crash") for case in cases),
        "peak MB of one input": round(max((case["peak"] for case in cases), default=0) / 2**20, 1),
        "resident MB gained after the first 500 inputs": memory,
        "open files gained": files,
    }
