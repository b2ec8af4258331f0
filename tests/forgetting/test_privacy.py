"""The worst case is that of the formula, and claims nothing that luck explains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.forgetting.judge.privacy import worst_case


def brute_force(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    """Every threshold, direction and order, one at a time."""
    best = 0.0
    for attack in first:
        sides = (first[attack], second[attack])
        slack = [math.sqrt(math.log(2 / (0.05 / (2 * len(first)))) / (2 * len(side))) for side in sides]
        for threshold in np.concatenate(sides):
            for above in (True, False):
                share = [float(np.mean((side > threshold) == above)) for side in sides]
                for i in (0, 1):
                    sure = share[i] - slack[i]
                    if sure > 0:
                        best = max(best, math.log(sure / min(1.0, share[1 - i] + slack[1 - i])))
    return best


@given(st.integers(0, 10_000), st.floats(-3, 3), st.integers(5, 120), st.integers(5, 120))
@settings(max_examples=30, deadline=None)
def test_it_is_the_best_of_all_thresholds(seed: int, shift: float, count: int, other: int) -> None:
    random = np.random.default_rng(seed)
    first = {"a": random.normal(size=count), "b": random.integers(0, 4, count).astype(float)}
    second = {"a": random.normal(shift, 1, other), "b": random.integers(0, 4, other).astype(float)}
    found = worst_case(first, second)
    assert found.epsilon == pytest.approx(brute_force(first, second), abs=1e-12)
    assert found.epsilon <= found.ceiling + 1e-12
    assert worst_case(second, first).epsilon == pytest.approx(found.epsilon, abs=1e-12)
    if found.attack is not None:
        assert found.threshold in np.concatenate([first[found.attack], second[found.attack]])


def test_equal_sides_are_told_apart_in_at_most_one_of_twenty_draws() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        first, second = ({"a": random.random(60), "b": random.random(60)} for _ in range(2))
        wrong += worst_case(first, second).epsilon > 0
    assert wrong <= 10


def test_few_images_prove_nothing_and_say_so() -> None:
    found = worst_case({"a": np.zeros(4)}, {"a": np.ones(4)})
    assert (found.score, found.least_score, found.attack) == (1.0, 1.0, None)
    with pytest.raises(ValueError, match="the same attacks"):
        worst_case({"a": np.ones(3)}, {"b": np.ones(3)})
    with pytest.raises(ValueError, match="at least one image"):
        worst_case({"a": np.ones(3)}, {"a": np.ones(0)})
