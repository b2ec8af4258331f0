"""How sure a figure is: Wilson intervals of accuracies, t intervals of means over draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit  # of scipy.stats, which takes a second to import

from unlabeled.probes.arrays import InputError


def accuracy_interval(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of an accuracy (Wilson 1927): the accuracies p that ``right`` of ``n`` answers do not rule out.

    Unlike a bootstrap it keeps its coverage near 0 and 1 and for few answers: 20 of 20 is not a certainty.

    Args:
        right, n: right answers among n >= 1.
        level: coverage, in (0, 1).

    Raises:
        InputError: no answers, or more right ones than answers.

    >>> low, high = accuracy_interval(20, 20)
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    if not 0 <= right <= n or n < 1:
        raise InputError(f"an interval needs 0 <= right <= n and n >= 1, not right={right}, n={n}.")
    z2 = float(ndtri((1 + level) / 2)) ** 2
    p = right / n
    centre, half = p + z2 / (2 * n), math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # at the ends the formula gives exactly 0 and 1, apart from rounding
    return (0.0 if right == 0 else low), (1.0 if right == n else high)


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of the mean of a few figures, e.g. accuracies over draws, episodes or seeds.

    Args:
        values: at least one figure.
        level: coverage, in (0, 1).

    Returns:
        ``(low, high)``, or None where nothing can be said: one figure, or figures that are all alike.

    Raises:
        InputError: no figure.

    >>> low, high = mean_interval([0.5, 0.6, 0.7])
    >>> round(low, 3), round(high, 3)
    (0.352, 0.848)
    """
    figures = np.asarray(values, dtype=float)
    if figures.ndim != 1 or not len(figures):
        raise InputError("an interval of a mean needs at least one figure.")
    if len(figures) < 2 or bool((figures == figures[0]).all()):
        return None
    mean = float(figures.mean())
    half = float(stdtrit(len(figures) - 1, (1 + level) / 2) * figures.std(ddof=1) / math.sqrt(len(figures)))
    return mean - half, mean + half
