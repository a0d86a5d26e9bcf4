"""What a process takes: memory, open files; and children whose crash or hang is seen from outside.

Children are made by fork, so that none of them imports torch anew; the parent may have made no threads before.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).parents[1]
_pipe = None


def status(name):
    """A line of /proc/self/status in bytes, such as VmRSS or VmHWM."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def resident():
    """Bytes in memory after all that is free has been given back."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def forget_peak():
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def open_files():
    """How many file descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


def environment():
    """For processes that find the library of this checkout and use one thread."""
    path = os.pathsep.join(filter(None, (str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def worker(function, *arguments, timeout=240):
    """Call a function in a child, at once, and give what it says, fact by fact.

    {"died": why} is added where the child ends by a signal or an error, or says nothing for so many seconds.
    """
    global _pipe
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)  # Decoders written in C print what they think.
        _pipe = os.fdopen(writing, "w")
        try:
            torch.set_num_threads(1)
            function(*arguments)
            os._exit(0)
        except BaseException:
            say(raised=traceback.format_exc()[-1500:])
            os._exit(99)
    os.close(writing)
    return _facts(child, reading, timeout)


def _facts(child, reading, timeout):
    why, rest = None, b""
    with os.fdopen(reading, "rb", buffering=0) as lines:
        while True:
            if not select.select([lines], [], [], timeout)[0]:
                os.kill(child, signal.SIGKILL)
                why = f"nothing for {timeout} seconds"
                break
            data = lines.read(65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                fact = json.loads(line)
                if "raised" in fact:
                    why = fact["raised"]
                else:
                    yield fact
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if why is None and code:
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if why:
        yield {"died": why}


def say(**facts):
    """Tell the parent of a `worker`; print, where there is none."""
    (_pipe or sys.__stdout__).write(json.dumps(facts) + "\n")
    (_pipe or sys.__stdout__).flush()
