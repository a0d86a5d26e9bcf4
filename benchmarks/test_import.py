"""Import time beside torch's own: users.md asks for a light import, the issue for at most 1.2 times torch."""

import statistics
import subprocess
import sys
import time

ROUNDS = 7


def seconds(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def test_import_is_nearly_as_fast_as_torch(record_property, capsys):
    statements = ("pass", "import torch", "import restoralib", "import restoralib.archs")
    for statement in statements:
        seconds(statement)  # The first run reads the files from disk.
    # Interleaved, so that a busy moment of the machine hits all of them alike.
    runs = [[seconds(statement) for statement in statements] for _ in range(ROUNDS)]
    python, torch, restoralib, archs = (statistics.median(column) for column in zip(*runs, strict=True))
    with capsys.disabled():
        print(f"\nimport torch: {torch - python:.2f} s; restoralib {restoralib / torch:.3f}x, archs {archs / torch:.3f}x")
    record_property("restoralib / torch", restoralib / torch)
    record_property("restoralib.archs / torch", archs / torch)
    assert max(restoralib, archs) <= 1.2 * torch
