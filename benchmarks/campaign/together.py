"""(e) Threads and processes that call `restore()` at once: equal results."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch

from campaign.models import Blur, small_fsrcnn, small_nafnet
from campaign.process import say, worker
from restoralib import restore

THREADS, IMAGES = 16, 48
OPTIONS = ({}, {"tile": 16}, {"dtype": "bfloat16"}, {"ensemble": True}, {"seed": 3}, {"tile": 24, "batch": 2})


def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 20 + n % 30, 25 + n % 7, generator=generator) for n in range(IMAGES)]


def key(result):
    return hashlib.sha256(result.numpy().tobytes()).hexdigest()


def restored(models, numbers):
    """The digest of each image's result."""
    sources = images()

    def one(number):
        return key(restore(sources[number], models[number % len(models)], **OPTIONS[number % len(OPTIONS)]))

    return one, numbers


def networks():
    return [Blur().eval(), small_nafnet(), small_fsrcnn(), "sr2"]


def alone():
    """One after the other."""
    one, numbers = restored(networks(), range(IMAGES))
    return [one(number) for number in numbers]


def by_threads(count=THREADS):
    """All at once, with the same networks."""
    one, numbers = restored(networks(), range(IMAGES))
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, numbers))


def process():
    """In a worker: say the digests."""
    say(digests=alone())


def run():
    """How many results differ, by threads and by processes."""
    told = [list(facts) for facts in [worker(process, timeout=900), worker(process, timeout=900)]]  # before there are threads
    expected = alone()
    differing = [sum(a != b for a, b in zip(by_threads(), expected, strict=True)) for _ in range(3)]
    digests = [facts[0].get("digests") for facts in told]
    return {
        "threads": THREADS,
        "results of threads": 3 * IMAGES,
        "results of threads that differ": sum(differing),
        "processes": 2,
        "results of processes that differ": sum(
            IMAGES if found is None else sum(a != b for a, b in zip(found, expected, strict=True)) for found in digests
        ),
    }
