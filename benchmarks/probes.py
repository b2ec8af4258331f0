"""Probes against their peers, in the same run on the same features.

    python benchmarks/probes.py --size small|medium|full [--only knn,linear,closed,logistic,suite,memory] [--threads 1]

Times are CPU seconds of this process (``--clock cpu``, steady on a shared machine) or wall seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from _results import HERE, machine, save, section
from threadpoolctl import threadpool_limits

from unlabeled.core.progress import set_quiet
from unlabeled.probes.features import extract
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.linear import LinearProbe
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.statistics import Statistics
from unlabeled.probes.suite import PROBES, run_probes


class Size(NamedTuple):
    """Rows of the bank and of the test, dimension, classes."""

    bank: int
    test: int
    dim: int
    classes: int


SIZES = {
    "small": [Size(5_000, 1_000, 128, 20)],
    "medium": [Size(20_000, 4_000, 512, 100)],
    "full": [Size(50_000, 10_000, 512, 100), Size(200_000, 1_000, 512, 1000)],
}
KS = (1, 5, 10, 20, 50, 100, 150, 200)
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 1.0)
LEARNING_RATES = tuple(float(v) for v in np.logspace(-3, 0, 13))
clock: Callable[[], float] = time.process_time


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """The least time of ``repeats`` runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = clock()
        result = work()
        best = min(best, clock() - start)
    return best, result


def features(n: int, test: int, dim: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian classes in a space whose variance decays, as embeddings' does."""
    rng = np.random.default_rng(0)
    spread = (np.arange(dim) + 1.0).astype(np.float32) ** -0.5
    centres = rng.normal(size=(classes, dim)).astype(np.float32) * spread
    y = rng.integers(0, classes, n + test)
    X = rng.standard_normal((n + test, dim), dtype=np.float32)
    X *= 8 * spread
    X += centres[y]
    return X[:n], y[:n], X[n:], y[n:]


def bench_knn(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from lightly.utils.benchmarking import knn_predict
    from sklearn.neighbors import KNeighborsClassifier

    X, y, Z, _ = features(n, test, dim, classes)
    bank, query = (F.normalize(torch.from_numpy(a), dim=1) for a in (X, Z))
    tile = max(1, (1 << 24) // n)
    out = torch.empty(tile, n)

    def product() -> None:
        for start in range(0, test, tile):
            part = query[start : start + tile]
            torch.mm(part, bank.T, out=out[: len(part)])

    def separately(k: int, temperature: float, rows: int) -> torch.Tensor:
        """One (k, τ) computed on its own, similarities and all, as solo-learn's WeightedKNNClassifier does."""
        answers = []
        for start in range(0, rows, 500):
            similarity, index = (query[start : start + 500] @ bank.T).topk(k, dim=1)
            votes = torch.zeros(len(index), classes).scatter_add_(1, labels[index], (similarity / temperature).exp())
            answers.append(votes.argmax(1))
        return torch.cat(answers)

    labels = torch.from_numpy(y)
    ks = [k for k in KS if k < n]
    probe = KNNProbe().fit(X, y)
    bare, _ = timed(product, 2)
    ours, _ = timed(lambda: probe.sweep(Z, ks, TEMPERATURES), 2)
    single, mine = timed(lambda: KNNProbe(200, 0.1).fit(X, y).predict(Z), 2)
    rows = min(test, 1000)
    alone, _ = timed(lambda: separately(200, 0.1, rows))
    lightly_seconds, theirs = timed(
        lambda: torch.cat(
            [knn_predict(q, bank.T, labels, num_classes=classes, knn_k=200, knn_t=0.1)[:, 0] for q in query.split(500)]
        )
    )
    few = min(test, 1000)
    sklearn = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(X, y).predict(Z[:few])
    uniform = KNNProbe(20, weights="uniform").fit(X, y).predict(Z[:few])
    return {
        "combinations": len(ks) * len(TEMPERATURES),
        "bare_product_s": bare,
        "sweep_s": ours,
        "sweep_over_product": ours / bare,
        "separate_s": alone * test / rows * len(ks) * len(TEMPERATURES),
        "separate_over_sweep": alone * test / rows * len(ks) * len(TEMPERATURES) / ours,
        "single_k_s": single,
        "lightly_single_k_s": lightly_seconds,
        "lightly_over_single": lightly_seconds / single,
        "agrees_with_lightly": float((torch.from_numpy(mine) == theirs).float().mean()),
        "agrees_with_sklearn": float((sklearn == uniform).mean()),
    }


def bench_linear(size: Size) -> dict[str, Any]:
    n, _, dim, classes = size
    rows = min(n, 20_000 if classes <= 100 else 5_000)
    X, y, _, _ = features(rows, 10, dim, classes)
    settings: dict[str, Any] = {"weight_decay": 0.0, "normalise": "standard", "epochs": 3, "min_steps": 1}

    x, target = torch.from_numpy((X - X.mean(0)) / X.std(0)), torch.from_numpy(y)

    def autograd(lr: float) -> None:
        """The usual probe: nn.Linear, cross-entropy, torch.optim.SGD, one batch after another."""
        head = torch.nn.Linear(dim, classes)
        sgd = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 3 * -(-rows // 256))
        for _ in range(3):
            for part in torch.randperm(rows).split(256):
                sgd.zero_grad()
                F.cross_entropy(head(x[part]), target[part]).backward()
                sgd.step()
                schedule.step()

    stacked, swept = timed(lambda: LinearProbe(LEARNING_RATES, **settings).sweep(X, y), 2)
    separate, alone = timed(lambda: [LinearProbe(lr, **settings).sweep(X, y)[0] for lr in LEARNING_RATES])
    usual, _ = timed(lambda: [autograd(lr) for lr in LEARNING_RATES])
    difference = max(float((a[1] - b[1]).abs().max() / b[1].abs().max()) for a, b in zip(swept, alone, strict=True))
    return {
        "rows": rows,
        "learning_rates": len(LEARNING_RATES),
        "stacked_s": stacked,
        "one_by_one_s": separate,
        "autograd_one_by_one_s": usual,
        "one_by_one_over_stacked": separate / stacked,
        "autograd_over_stacked": usual / stacked,
        "relative_weight_difference": difference,
    }


def bench_closed(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import NearestCentroid

    X, y, Z, _ = features(n, test, dim, classes)
    alphas = np.logspace(-2, 6, 20)

    def all_three() -> tuple[Any, ...]:
        sums = Statistics(dim)
        sums.add(X, y)
        probes = (NearestMeanProbe(), LDAProbe(shrinkage=0.1), RidgeProbe(alphas, relative=False))
        return tuple(probe.from_statistics(sums).predict(Z) for probe in probes), probes[2]

    wall = time.perf_counter()
    seconds, ((nmc, lda, _), ridge) = timed(all_three)
    wall = time.perf_counter() - wall
    sklearn_s, centroid = timed(lambda: NearestCentroid().fit(X, y))
    lda_s, discriminant = timed(lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(X, y))
    targets = np.where(y[:, None] == np.arange(classes), 1.0, -1.0).astype(np.float32)
    ridge_s, reference = timed(lambda: Ridge(alphas[10]).fit(X.astype(np.float64), targets))
    weight, _ = ridge.weights(float(alphas[10]))
    return {
        "all_three_s": seconds,
        "all_three_wall_s": wall,
        "sklearn_nmc_s": sklearn_s,
        "sklearn_lda_s": lda_s,
        "sklearn_ridge_one_alpha_s": ridge_s,
        "nmc_agrees": float((nmc == centroid.predict(Z)).mean()),
        "lda_agrees": float((lda == discriminant.predict(Z)).mean()),
        "ridge_relative_difference": float(np.abs(weight - reference.coef_).max() / np.abs(reference.coef_).max()),
    }


def bench_logistic(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from sklearn.linear_model import LogisticRegression

    if classes > 100:
        n = min(n, 20_000)
    X, y, _, _ = features(n, test, dim, classes)
    penalties = np.logspace(-2, -5, 20)
    ours, path = timed(lambda: LogisticProbe(penalties).path(X, y))
    last = float(penalties[-1])
    reached = path[-1][0].objective
    # The shortest scikit-learn fit that reaches the objective of the path's last point, the hardest of the 20.
    for iterations in (25, 50, 100, 200, 400, 800):
        seconds, model = timed(
            lambda: LogisticRegression(C=1 / (n * last), tol=1e-6, max_iter=iterations).fit(X, y)  # noqa: B023
        )
        loss = -model.predict_log_proba(X)[np.arange(n), y].mean() + last / 2 * np.square(model.coef_).sum()
        if loss <= reached * 1.001 or model.n_iter_[0] < iterations:
            break
    return {
        "rows": n,
        "penalties": len(penalties),
        "path_s": ours,
        "path_iterations": sum(point.iterations for point, _, _ in path),
        "sklearn_one_fit_s": seconds,
        "sklearn_iterations": int(model.n_iter_[0]),
        "sklearn_over_path": seconds / ours,
        "objective": reached,
        "sklearn_objective": float(loss),
    }


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
    seconds, report = timed(lambda: run_probes(bank, test_bank, PROBES))
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
            command = [sys.executable, __file__, "--child", what, "--rows", str(rows), "--dim", str(dim)]
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


PARTS = {
    "knn": bench_knn,
    "linear": bench_linear,
    "closed": bench_closed,
    "logistic": bench_logistic,
    "suite": bench_suite,
    "memory": bench_memory,
}


def markdown(found: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The section of RESULTS.md."""
    lines = [
        "## Probes",
        f"`python benchmarks/probes.py --size {arguments.size} --threads {arguments.threads} --clock {arguments.clock}`"
        f" on {machine()}. Times in {'CPU' if arguments.clock == 'cpu' else 'wall'} seconds.",
        "",
        "| bank x test, D, C | what | figure |",
        "|---|---|---:|",
    ]
    for size, parts in found.items():
        for part, figures in parts.items():
            lines += [f"| {size} | {part}: {name.replace('_', ' ')} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(lines)


def main() -> None:
    global clock
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--keep", action="store_true", help="keep the figures of earlier runs that this one leaves out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--dim", type=int, default=512, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    set_quiet(True)
    warnings.simplefilter("ignore")
    if arguments.child:
        child(arguments.child, arguments.rows, arguments.dim)
        return
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    kept = HERE / "results" / "probes.json"
    found: dict[str, Any] = json.loads(kept.read_text())["figures"] if arguments.keep and kept.exists() else {}
    for size in SIZES[arguments.size]:
        name = f"{size.bank:,} x {size.test:,}, {size.dim}, {size.classes}"
        for part in arguments.only.split(","):
            if part in ("suite", "memory") and size is not SIZES[arguments.size][0]:
                continue  # these do not depend on the number of classes: the first size says it
            found.setdefault(name, {})[part] = PARTS[part](size)
            print(name, part, found[name][part], flush=True)
            save("probes", {"machine": machine(), "arguments": vars(arguments), "figures": found})
            section("probes", markdown(found, arguments))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
