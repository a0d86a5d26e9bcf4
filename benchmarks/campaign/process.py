"""What a process takes: memory, open files; and a worker whose crash or hang is seen from outside."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]


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
    """For processes that find `campaign` and use one thread."""
    path = os.pathsep.join(filter(None, (str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def worker(*arguments, timeout=60):
    """Run `python -m campaign ARGUMENTS` and give what it prints, JSON line by JSON line.

    A line of {"died": why} is added where it ends by a signal, or says nothing for so many seconds.
    """
    command = [sys.executable, "-m", "campaign", *map(str, arguments)]
    lines: queue.Queue = queue.Queue()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:

        def read():
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        last_words = []
        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=lambda: last_words.extend(process.stderr.readlines()[-20:]), daemon=True).start()
        why = None
        while True:
            try:
                line = lines.get(timeout=timeout)
            except queue.Empty:
                process.kill()
                why = f"nothing for {timeout} seconds"
                break
            if line is None:
                break
            yield json.loads(line)
        code = process.wait()
        if why is None and code:
            why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {''.join(last_words)[-2000:]}"
        if why:
            yield {"died": why}


def say(**facts):
    """Print a line for `worker`."""
    sys.__stdout__.write(json.dumps(facts) + "\n")
    sys.__stdout__.flush()
