"""How sure a figure is: bootstrap intervals of accuracies, and means over draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import InputError


def accuracy_interval(
    right: int, n: int, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of an accuracy (Efron & Tibshirani 1993, Sec. 13.3).

    Drawing n of n right-or-wrong answers with replacement makes the number of right ones binomial, so that each of
    the ``draws`` resamples is a single number.

    Args:
        right, n: right answers among n >= 1.
        level: coverage, in (0, 1).

    >>> low, high = accuracy_interval(900, 1000)
    >>> round(low, 2), round(high, 2)
    (0.88, 0.92)
    """
    if not 0 <= right <= n or n < 1:
        raise InputError(f"an interval needs 0 <= right <= n and n >= 1, not right={right}, n={n}.")
    accuracies = numpy_generator(seed, "bootstrap").binomial(n, right / n, draws) / n
    low, high = np.quantile(accuracies, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of a few figures, e.g. accuracies over draws or episodes.

    >>> mean_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    figures = np.asarray(values, dtype=float)
    if figures.ndim != 1 or not len(figures):
        raise InputError("an interval of a mean needs at least one figure.")
    generator = numpy_generator(seed, "bootstrap of a mean")
    means = np.concatenate(
        [figures[generator.integers(0, len(figures), (100, len(figures)))].mean(1) for _ in range(-(-draws // 100))]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
