"""What the parts of the probe benchmark share: sizes, features, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


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


def use_clock(name: str) -> None:
    """``"cpu"``: seconds of this process, steady on a shared machine; ``"wall"``."""
    global clock
    clock = time.process_time if name == "cpu" else time.perf_counter


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
