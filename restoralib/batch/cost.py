"""What a run over many images takes, and which of its parts is full first."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a run over many images takes.

    Args:
        rates: images a second of all machines together, that each part could do if it were alone: "model", "codecs" (reading
            and writing on the cores), "network", "storage"; infinite where nothing limits it.
        saturates: the slowest part, which sets the pace.
        images_per_second: of all machines together.
        images_per_device_hour: of a device, at that pace.
        hours: of the run.
        device_hours: of all devices; where there are none, of all machines.
        price: of these, in the unit of the price that was given.
        most_machines: beyond this many, more do not help, for the shared storage is full; infinite where it has no limit.
    """

    rates: dict[str, float]
    saturates: str
    images_per_second: float
    images_per_device_hour: float
    hours: float
    device_hours: float
    price: float
    most_machines: float


def cost(
    images: float,
    *,
    model_seconds: float,
    read_seconds: float = 0.0,
    write_seconds: float = 0.0,
    machines: int = 1,
    devices: int = 0,
    cores: int = 1,
    bytes_read: float = 0.0,
    bytes_written: float = 0.0,
    network: float = math.inf,
    storage: float = math.inf,
    price: float = 0.0,
) -> Cost:
    """Reckon a run from the times of its parts, which overlap, so that the slowest sets the pace.

    A machine with d devices does d / model_seconds images a second, its c cores read and write c / (read_seconds +
    write_seconds), its network moves network / (bytes_read + bytes_written). Without devices, the cores do the model's work
    too: c / (model_seconds + read_seconds + write_seconds). The storage is one for all machines.

    `benchmarks/batch_throughput.py` measures the times.

    Args:
        images: how many.
        model_seconds: the model's for an image, on a device, or on a core where there are none.
        read_seconds: of a core, to decode an image.
        write_seconds: of a core, to encode a result.
        machines: how many.
        devices: accelerators of a machine; 0 where its cores run the model.
        cores: of a machine.
        bytes_read: of an image's file.
        bytes_written: of a result's file.
        network: bytes a second of a machine.
        storage: bytes a second of what all machines read from and write to.
        price: of a device for an hour; of a machine, where it has no devices.

    Raises:
        ValueError: a number is negative, or there are no images, cores, machines or model.
    """
    given = {
        "read_seconds": read_seconds,
        "write_seconds": write_seconds,
        "devices": devices,
        "bytes_read": bytes_read,
        "bytes_written": bytes_written,
        "price": price,
    }
    positive = {"images": images, "model_seconds": model_seconds, "machines": machines, "cores": cores}
    positive |= {"network": network, "storage": storage}
    wrong = [name for name, value in given.items() if not value >= 0]
    wrong += [name for name, value in positive.items() if not value > 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} should be positive; what costs nothing is left out")

    codecs, moved = read_seconds + write_seconds, bytes_read + bytes_written
    rates = {
        "model": machines * (devices / model_seconds if devices else cores / (model_seconds + codecs)),
        "codecs": machines * cores / codecs if codecs and devices else math.inf,
        "network": machines * network / moved if moved else math.inf,
        "storage": storage / moved if moved else math.inf,
    }
    saturates = min(rates, key=lambda part: rates[part])
    pace = rates[saturates]
    others = min(rate for part, rate in rates.items() if part != "storage") / machines
    units = machines * (devices or 1)
    hours = images / pace / 3600
    return Cost(
        rates=rates,
        saturates=saturates,
        images_per_second=pace,
        images_per_device_hour=3600 * pace / units,
        hours=hours,
        device_hours=units * hours,
        price=price * units * hours,
        most_machines=rates["storage"] / others,
    )
