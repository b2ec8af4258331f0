"""Intervals against scipy."""

import numpy as np
import pytest
from scipy import stats

from unlabeled.probes.intervals import accuracy_interval, mean_interval


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 9), (412, 500), (9_931, 10_000)])
@pytest.mark.parametrize("level", [0.68, 0.95])
def test_wilson(right, n, level):
    theirs = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert accuracy_interval(right, n, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 600])
def test_student(n):
    values = np.random.default_rng(n).normal(0.8, 0.05, n)
    theirs = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert mean_interval(values.tolist()) == pytest.approx(theirs, rel=1e-12)
    # a reference for the reference: what covers the truth in 95 of 100 cases, also from two draws
    draws = np.random.default_rng(1).normal(0.8, 0.05, (4000, n))
    covered = [low <= 0.8 <= high for low, high in (mean_interval(row) for row in draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)
