"""Time per image and resident memory from 10,000 to 1,000,000 images, 32 pixels in colour, on disk.

A process of its own for each size reads a whole epoch through the real loader (order, memory map, prefetching thread)
and makes two SimCLR views of every image; the model, whose cost does not depend on the number of images, is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SIZES = (10_000, 100_000, 1_000_000)
SHAPE, BATCH = (3, 32, 32), 256


def store(path: Path, images: int) -> None:
    """Write pixels: the same block of noise over and over, as what they show does not matter here."""
    block = np.random.default_rng(0).integers(0, 256, (10_000, *SHAPE), dtype=np.uint8).tobytes()
    with path.open("wb") as file:
        for _ in range(images // 10_000):
            file.write(block)


def epoch(path: str, images: int, parts: int) -> dict[str, Any]:
    """Read an epoch in this process: seconds an image in each of ``parts`` of it, and memory in MiB at the end."""
    from unlabeled.data import ImageSet
    from unlabeled.data.spec import ViewSpec
    from unlabeled.data.views import Views
    from unlabeled.engine.batches import BatchStream, Schedule, Shuffled

    pixels = np.memmap(path, np.uint8, "r", shape=(images, *SHAPE))
    data = ImageSet("growth", "train", pixels, fingerprint="growth")
    spec = ViewSpec(
        count=2, crop="resized", flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gray=0.2
    )
    views = Views([spec], (0.5,), (0.25,))
    sampler = Shuffled(images, BATCH)
    schedule = Schedule(1, sampler.batches_per_epoch(), BATCH, 1, 0)
    marks = [round(schedule.per_epoch * part / parts) for part in range(1, parts + 1)]
    views(data.gather(np.arange(BATCH)), key=(0,))
    taken, start, done = [], time.perf_counter(), 0
    for number, batch in enumerate(BatchStream(data, sampler, schedule, 0, with_labels=False), 1):
        views(batch["images"], key=(0, number))
        if number in marks:
            now = time.perf_counter()
            taken.append((now - start) / (number - done) / BATCH)
            start, done = now, number
    return {"images": images, "parts": taken, **memory()}


def memory() -> dict[str, float]:
    """This process's resident memory in MiB: all of it, and what is not pages of files."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: int(found[key].split()[0]) / 1024 for name, key in (("resident", "VmRSS"), ("anonymous", "RssAnon"))}


def measure(sizes: tuple[int, ...] = SIZES, parts: int = 8) -> list[dict[str, Any]]:
    """One record a size. Linux only: memory is read from ``/proc``."""
    found = []
    for images in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store(Path(folder) / "pixels", images)
            call = [sys.executable, "-m", "unlabeled.bench.growth", f"{folder}/pixels", str(images), str(parts)]
            done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout))
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Microseconds an image and MiB, relative to the smallest set."""
    head = (
        "| images | µs an image, median of parts | × smallest | resident, MiB | × smallest | without file pages, MiB |"
    )
    rows = [head, "|---:|---:|---:|---:|---:|---:|"]
    first = found[0]
    for row in found:
        slower = median(row["parts"]) / median(first["parts"])
        more = row["resident"] / first["resident"]
        rows.append(
            f"| {row['images']:,} | {median(row['parts']) * 1e6:.1f} | {slower:.2f} | {row['resident']:.0f} "
            f"| {more:.2f} | {row['anonymous']:.0f} |"
        )
    return "\n".join(rows)


def lines(rounds: int) -> Iterator[str]:
    """The table; a round is a part of an epoch here."""
    yield table(measure(SIZES, rounds))


if __name__ == "__main__":
    print(json.dumps(epoch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
