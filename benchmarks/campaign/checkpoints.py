"""(b) Evil and broken checkpoints: each is refused in words, or warned of, with no side effect, little memory and soon."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
import subprocess
import tarfile
import time
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes

from campaign.models import small_nafnet
from campaign.process import forget_peak, resident, say, status
from restoralib import load_model
from restoralib.checkpoints import CheckpointError, CheckpointWarning

MOST_MEMORY = 150 * 2**20  # bytes that a refusal may take at its peak; torch's own reader of an archive needs some
MOST_SECONDS = 20  # of processor time
BOMB = 10**8  # bytes that an archive of few unpacks to
CANARY = "RESTORALIB_CANARY"


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class State:
    """Pickles as an object made by a call, whose state is then set."""

    def __init__(self, function, arguments, state):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def legacy(content):
    return saved(content, _use_new_zipfile_serialization=False)


def archive(members, compression=zipfile.ZIP_STORED):
    """A zip of names and contents, in torch's layout where the names are."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as made:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


def repacked(pickled, extra=()):
    """A sound archive of torch's with another pickle in it."""
    members = []
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as whole:
        for name in whole.namelist():
            members.append((name, pickled if name.endswith("data.pkl") else whole.read(name)))
    return archive([*members, *extra])


def header(entries, data=b""):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor_header(shape, offsets, dtype="F32", name="a", data=bytes(16)):
    return header({name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, data)


def rebuilt(size, stride, offset=0, count=4):
    """A pickle of a tensor by torch's own function, with numbers of any size."""
    storage = torch.ones(count).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    tensor = Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, OrderedDict())
    return saved({"params": {"intro.weight": tensor}})


def script():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 1)), file)
    return file.getvalue()


def tar(folder):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        data = pickle.dumps(Call(os.mkdir, str(folder / "ran")))
        for name in ("pickle", "../../storages", "/tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return file.getvalue()


VERSION = [("archive/version", b"3\n"), ("archive/byteorder", b"little")]
STATE = {"params": small_nafnet().state_dict()}
PLAIN = STATE["params"]


def with_value(value, key="intro.weight"):
    return PLAIN | {key: torch.full_like(PLAIN[key], value)}


def nested(depth):
    content = {"weight": torch.ones(3)}
    for _ in range(depth):
        content = {"model": content}
    return content


def laughs():
    """Lists of lists that are ten times each other, in a file of a few hundred bytes."""
    content = ["ha"]
    for _ in range(12):
        content = [content] * 10
    return {"params": content, "weights": content}


def code(ran):
    """What would leave a trace: by function, by opcode, hidden in the state, behind a sound pickle."""
    system = b"cos\nsystem\n"
    touch = f"touch {ran}".encode()
    mkdir = Call(os.mkdir, str(ran))
    yield "os.system", saved({"a": Call(os.system, f"touch {ran}")})
    yield "exec", saved({"a": Call(exec, f"open({str(ran)!r}, 'w')")})
    yield "eval", saved({"a": Call(eval, f"open({str(ran)!r}, 'w')")})
    yield "subprocess", saved({"a": Call(subprocess.Popen, ["touch", str(ran)])})
    yield "the environment", saved({"a": Call(os.putenv, CANARY, "1")})
    yield "getattr", saved({"a": Call(getattr, "a", "upper")})
    yield "torch.load inside", saved({"a": Call(torch.load, "other.pth")})
    yield "torch.hub", saved({"a": Call(torch.hub.load, "a/b", "c")})
    yield "pickle in a pickle", saved({"a": Call(pickle.loads, pickle.dumps(mkdir))})
    yield "legacy form", legacy({"a": mkdir})
    yield "plain pickle", pickle.dumps(mkdir)
    yield "protocol 0, INST", b"(S'" + touch + b"'\nios\nsystem\n."
    yield "protocol 0, REDUCE", system + b"(S'" + touch + b"'\ntR."
    yield "protocol 2, OBJ", b"\x80\x02(" + system + b"X" + struct.pack("<I", len(touch)) + touch + b"o."
    yield "protocol 2, NEWOBJ", b"\x80\x02csubprocess\nPopen\n(X" + struct.pack("<I", len(touch)) + touch + b"t\x81."
    yield "protocol 4, STACK_GLOBAL", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(touch)]) + touch + b"\x85R."
    yield "protocol 2, EXT1", b"\x80\x02\x82\x01."
    yield "protocol 2, PERSID", b"\x80\x02Pos.system\n."
    yield "BUILD with a state", saved({"a": State(OrderedDict, (), {"__setstate__": mkdir})})
    yield "state that is code", saved({"a": State(torch.nn.Parameter, (torch.ones(1),), {"x": mkdir})})
    yield "code as a key", saved({"params": {(mkdir,): torch.ones(3)}})
    yield "code in the archive's pickle", repacked(pickle.dumps(mkdir, 2))
    yield "second pickle behind the first", legacy(PLAIN) + pickle.dumps(mkdir, 2)
    yield "whole network", saved({"model": small_nafnet()})


def broken(ran):
    """Archives, tensors, headers that lie."""
    weights, whole = safetensors_bytes(PLAIN), saved(STATE)
    yield "zip in a zip", archive([("archive/data.pkl", whole), ("archive/inner.zip", whole), *VERSION])
    bomb = [("archive/data.pkl", pickle.dumps({}, 2)), ("archive/version", b"3"), ("archive/data/0", bytes(BOMB))]
    yield "zip bomb", archive(bomb, zipfile.ZIP_DEFLATED)
    yield "bomb as the pickle", archive([("archive/data.pkl", bytes(BOMB)), ("archive/version", b"3")], zipfile.ZIP_DEFLATED)
    empty = ("archive/data.pkl", pickle.dumps({}, 2))
    yield "two pickles of one name", archive([empty, empty, *VERSION])
    yield "names that lead out", repacked(pickle.dumps({}, 2), [("../../../ran", b"x"), (str(ran), b"x")])
    yield "20,000 members", archive([empty, *((f"archive/data/{n}", b"") for n in range(20_000)), *VERSION])
    yield "cut archive", whole[: len(whole) // 2]
    yield "damaged directory", whole[:-40] + bytes(40)
    yield "cut legacy file", legacy(PLAIN)[:-500]
    yield "shape of a billion", rebuilt((10**9, 10**9), (10**9, 1))
    yield "a billion times one number", rebuilt((10**9, 10**9), (0, 0))
    yield "negative shape", rebuilt((-3, 4), (4, 1))
    yield "negative stride", rebuilt((2, 2), (-1, 1))
    yield "behind the storage", rebuilt((2, 2), (2, 1), 10**6)
    yield "aliased tensors", saved(PLAIN | {f"more.{n}": ALIASED for n in range(2000)})
    yield "whole numbers", saved({key: value.to(torch.int32) for key, value in PLAIN.items()})
    yield "complex numbers", saved(PLAIN | {"intro.weight": PLAIN["intro.weight"].to(torch.complex64)})
    yield "sparse", saved(PLAIN | {"intro.weight": torch.eye(3).to_sparse()})
    yield "without values", saved(PLAIN | {"intro.weight": torch.empty(10**9, 10**6, device="meta")})
    yield "empty tensor", saved(PLAIN | {"intro.weight": torch.ones(0, 3)})
    yield "a billion blocks", saved({key.replace("encoders.0.0", "encoders.999999999.0"): PLAIN[key] for key in PLAIN})
    yield "text for a tensor", saved(PLAIN | {"intro.weight": "weights"})
    yield "keys that are numbers", saved(dict(enumerate(PLAIN.values())))
    yield "dictionaries without end", saved(nested(60))
    yield "lists of lists of lists", saved(laughs())
    yield "length of 2^60", b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a."
    yield "number of 2^31 bytes", b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"1."
    yield "tuples in tuples", b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."
    yield "TorchScript", script()
    yield "safetensors, cut", weights[:-10]
    yield "safetensors, cut in the header", weights[:50]
    yield "safetensors, header of 2^60 bytes", struct.pack("<Q", 2**60) + b"{" + bytes(100)
    yield "safetensors, header of 200 MB that is not there", struct.pack("<Q", 200 * 10**6) + b"{}"
    yield "safetensors, no JSON", header(b'{"a": ')
    yield "safetensors, JSON without end", header(b'{"a":' * 100_000)
    two = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"}
    yield "safetensors, overlap", header(two, bytes(16))
    one = b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    yield "safetensors, a key twice", header(b"{" + one + b"," + one + b"}", bytes(16))
    yield "safetensors, shape of a billion", tensor_header([10**9, 10**9], [0, 16])
    yield "safetensors, shape that overflows", tensor_header([2**62, 8], [0, 16])
    yield "safetensors, negative shape", tensor_header([-4], [0, 16])
    yield "safetensors, negative offset", tensor_header([4], [-16, 0])
    yield "safetensors, offsets turned round", tensor_header([4], [16, 0])
    yield "safetensors, unknown type", tensor_header([4], [0, 16], "Q7")
    yield "safetensors, wrong type", tensor_header([4], [0, 16], "F64")
    told = {"arch": "os", "class": "system", "config": json.dumps({"x": str(ran)})}
    yield "safetensors, code as the network", safetensors_bytes(PLAIN, told)
    told = {"arch": "nafnet", "class": "NAFNet", "config": '{"width": 1e12}'}
    yield "safetensors, absurd network", safetensors_bytes(PLAIN, told)
    yield "safetensors, metadata that are numbers", header({"__metadata__": {"a": 1}}, b"")
    yield "text named so", b"not weights, but words\n"
    yield "web page", b"<!doctype html><html>sign in</html>"
    yield "empty file", b""
    yield "tar", tar(ran.parent)


HARMLESS = ("second pickle behind the first",)  # No reader comes so far.
ALIASED = torch.zeros(10**4)
NAN = {"NaN weights": float("nan"), "infinite weights": float("inf")}


def write_all(folder: Path):
    """Write all of them; names and paths, and what should come of each: refused, warned or loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    ran = folder / "ran"
    cases = []
    for number, (name, content) in enumerate((*code(ran), *broken(ran))):
        path = folder / f"{number}.{'safetensors' if 'safetensors' in name or 'named so' in name else 'pth'}"
        path.write_bytes(content)
        cases.append((name, path, "loaded" if name in HARMLESS else "refused"))
    for name, value in NAN.items():
        path = folder / f"{name.split()[0]}.pth"
        torch.save(with_value(value), path)
        cases.append((name, path, "warned"))
    places = {"folder": folder / "folder.pth", "pipe": folder / "pipe.pth", "socket": folder / "socket.pth"}
    places["folder"].mkdir(exist_ok=True)
    if not places["pipe"].exists():
        os.mkfifo(places["pipe"])
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(places["socket"]))
    links = {"device": "/dev/zero", "itself": "itself.pth", "nothing": "nowhere", "folder": "/proc/self"}
    for what, to in links.items():
        name = f"link to {what}"
        places[name] = folder / (f"{what}.pth" if what == "itself" else f"{what}-link.pth")
        if not places[name].is_symlink():
            places[name].symlink_to(to)
    cases += [(name, path, "refused") for name, path in places.items()]
    return cases


def judge(name, path, wanted):
    """What came of a file: (outcome, words, peak bytes, seconds of the processor)."""
    trace = path.parent / "ran"
    before, began = resident(), time.process_time()
    forget_peak()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_model(path)
        warned = [str(one.message) for one in caught if issubclass(one.category, CheckpointWarning)]
        outcome = "warned" if any("NaN or infinite" in text for text in warned) else "loaded"
        words = "; ".join(warned)
    except CheckpointError as error:
        words = f"{type(error).__name__}: {error}"
        outcome = "refused" if str(error).startswith(str(path)) else "fault"
    except Exception as error:
        outcome, words = "fault", repr(error)
    peak, seconds = status("VmHWM") - before, time.process_time() - began
    if outcome != wanted:
        outcome, words = "fault", f"{outcome} in place of {wanted}: {words}"
    if trace.exists() or subprocess.run(["printenv", CANARY], capture_output=True).returncode == 0:
        outcome, words = "fault", f"it left a trace; {words}"
    if peak > MOST_MEMORY or seconds > MOST_SECONDS:
        outcome, words = "fault", f"it took {peak / 2**20:.0f} MB and {seconds:.0f} s; {words}"
    return outcome, words.replace(str(path), path.name), peak, seconds


def run(folder: Path):
    """In a worker: say what came of each."""
    for case in write_all(folder):
        outcome, words, peak, seconds = judge(*case)
        say(name=case[0], kind=outcome, words=words[:300], peak=peak, seconds=round(seconds, 2))


def summary(facts):
    """Figures, and the faults."""
    found = [fact for fact in facts if "kind" in fact]
    kinds = [fact["kind"] for fact in found]
    return {
        "checkpoints": len(found),
        **{kind: kinds.count(kind) for kind in ("refused", "warned", "loaded", "fault")},
        "died": sum("died" in fact for fact in facts),
        "most MB at the peak": round(max(fact["peak"] for fact in found) / 2**20, 1),
        "most seconds of the processor": max(fact["seconds"] for fact in found),
        "faults": [f"{fact['name']}: {fact['words']}" for fact in found if fact["kind"] == "fault"],
    }
