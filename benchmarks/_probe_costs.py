"""What probing costs beside extraction, in time and in memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _probe_data import KS, TEMPERATURES, Size, timed

from unlabeled.probes.catalog import SUITE
from unlabeled.probes.features import extract
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.statistics import Statistics
from unlabeled.probes.suite import run_probes


def bench_suite(size: Size) -> dict[str, Any]:
    """Extraction against the bare forward, and all probes against the extraction."""
    n, test, _, _ = size
    from unlabeled.backbones import create
    from unlabeled.data import open_data

    train, held = open_data("fashion-mnist", "train"), open_data("fashion-mnist", "test")
    rows = min(len(train), n)
    train, held = train.subset(np.arange(rows)), held.subset(np.arange(min(len(held), test)))
    mean, std = (0.286,), (0.353,)
    model = create("resnet10_small", in_chans=1, image_size=28, mean=mean, std=std, seed=0)
    options: dict[str, Any] = {"mean": mean, "std": std, "batch_size": 256}
    ready = (train.gather(np.arange(256)).float() / 255 - mean[0]) / std[0]

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(rows // 256):
                model(ready)

    model.eval()
    extracting, bank = timed(lambda: extract(model, train, **options))
    forward, _ = timed(bare)
    test_bank = extract(model, held, **options)
    seconds, report = timed(lambda: run_probes(bank, test_bank, SUITE))
    return {
        "rows": rows,
        "dim": bank.dim,
        "bare_forward_s": forward * rows / (rows // 256 * 256),
        "extraction_s": extracting,
        "throughput_of_bare_forward": forward * rows / (rows // 256 * 256) / extracting,
        "suite_s": seconds,
        "suite_over_extraction": seconds / extracting,
        **{f"{r.name}_s": r.seconds for r in report.results},
    }


def bench_memory(size: Size) -> dict[str, Any]:
    """Peak memory of fresh processes above that of an idle one with everything imported, in MB."""
    n, _, dim, _ = size
    counts = {5_000: (5_000, 20_000), 20_000: (20_000, 80_000)}.get(n, (50_000, 200_000, 1_000_000))
    found: dict[str, Any] = {}
    for what in ("idle", "extract", "stream", "knn"):
        for rows in {"idle": counts[:1], "knn": counts[:2]}.get(what, counts):
            command = [
                sys.executable,
                str(Path(__file__).with_name("probes.py")),
                "--child",
                what,
                "--rows",
                str(rows),
                "--dim",
                str(dim),
            ]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            peak, bank = (float(v) for v in out.split())
            name = "idle_mb" if what == "idle" else f"{what}_{rows}_mb"
            found[name] = peak - found.get("idle_mb", 0.0) - bank
    return found


def child(what: str, rows: int, dim: int) -> None:
    """Print the peak resident MB of one job, and the MB of the bank that lies in memory."""

    class Synthetic:
        """Images made on the fly: the data set takes no memory."""

        labels, fingerprint, shape = None, f"synthetic-{rows}", (1, 8, dim // 64)

        def __len__(self) -> int:
            return rows

        def gather(self, index: np.ndarray) -> torch.Tensor:
            return torch.full((len(index), *self.shape), int(index[0]) % 251, dtype=torch.uint8)

    bank = 0.0
    if what == "extract":
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(dim // 8, dim))
        with tempfile.TemporaryDirectory() as folder:
            extract(model, Synthetic(), mean=(0.5,), std=(0.5,), cache=folder, batch_size=512)
    elif what == "stream":
        rng = np.random.default_rng(0)
        sums = Statistics(dim)
        for start in range(0, rows, 10_000):
            y = rng.integers(0, 100, min(10_000, rows - start))
            sums.add(rng.standard_normal((len(y), dim), dtype=np.float32), y)
        for probe in (NearestMeanProbe(), LDAProbe(), RidgeProbe()):
            probe.from_statistics(sums).predict(np.ones((10, dim), np.float32))
    elif what == "knn":
        X = np.empty((rows, dim), np.float32)
        np.random.default_rng(0).standard_normal(out=X, dtype=np.float32)
        bank = X.nbytes / 2**20
        KNNProbe().fit(X, np.arange(rows) % 100).sweep(X[:2_000], KS, TEMPERATURES)
    # Linux's own high-water mark: getrusage's would start from the parent's.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024, bank)
