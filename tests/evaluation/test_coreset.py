"""Choosing images: twins by their definition, SimCore's rounds against a plain loop, prototypes by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.evaluation import coreset
from unlabeled.evaluation.coreset import far_from_prototypes, nearest_to, twins, unit


def rows(n: int, dim: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@given(st.integers(1, 40), st.integers(0, 5), st.sampled_from([0.02, 0.2, 0.6]), st.integers(0, 999))
def test_no_two_that_stay_are_alike_and_every_other_has_a_twin_that_stays(
    n: int, block: int, distance: float, seed: int
) -> None:
    units = unit(rows(n, 3, seed))
    was, coreset.BLOCK = coreset.BLOCK, block or 1024
    try:
        found = twins(units, distance)
    finally:
        coreset.BLOCK = was
    cosine = units.astype(np.float64) @ units.T.astype(np.float64)
    kept = np.flatnonzero(found < 0)
    gone = np.flatnonzero(found >= 0)
    assert (cosine[np.ix_(kept, kept)] - 2 * np.eye(len(kept)) < 1 - distance + 1e-6).all()
    assert (found[gone] < gone).all()
    assert (found[found[gone]] < 0).all()
    assert (cosine[gone, found[gone]] >= 1 - distance - 1e-6).all()


def plain_rounds(own: Any, pool: Any, keep: int | None, stop: float) -> list[set[int]]:
    """The sets that SimCore takes, round by round, in float64."""
    own, pool = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (own.astype(float), pool.astype(float)))
    cosine, found, total = own @ pool.T, [], 0
    while total < (len(pool) if keep is None else keep):
        left = [row for row in range(len(pool)) if not any(row in part for part in found)]
        picks = [max(left, key=lambda row: line[row]) for line in cosine]
        mean = np.mean([line[pick] for line, pick in zip(cosine, picks, strict=True)])
        if not found:
            first = mean
        if keep is None and mean < stop * first:
            break
        found.append(set(picks))
        total += len(found[-1])
    return found


@pytest.mark.parametrize("stop", [0.5, 0.8])
def test_rounds_are_those_of_the_paper(stop: float) -> None:
    own, pool = rows(5, 6, 1), rows(60, 6, 2)
    wanted = plain_rounds(own, pool, None, stop)
    taken, score = nearest_to(own, pool, stop=stop)
    assert len(wanted) > 1
    for part in wanted:
        assert set(taken[: len(part)].tolist()) == part
        taken = taken[len(part) :]
    assert not len(taken)
    np.testing.assert_allclose(score, (unit(own) @ unit(pool).T).max(0), atol=1e-6)


def test_a_number_to_keep_is_kept_and_its_last_round_gives_the_most_alike() -> None:
    own, pool = rows(5, 6, 1), rows(60, 6, 2)
    whole, score = nearest_to(own, pool, 60)
    assert sorted(whole.tolist()) == list(range(60))
    for keep in (1, 3, 7, 59):
        assert nearest_to(own, pool, keep)[0].tolist() == whole[:keep].tolist()
    first = plain_rounds(own, pool, 1, 0)[0]
    assert whole[0] == max(first, key=lambda row: score[row])
    for keep in (0, 61):
        with pytest.raises(UserError, match="between 1 and the 60 images"):
            nearest_to(own, pool, keep)


def test_many_own_images_are_stood_for_by_centres() -> None:
    own = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0) + 0.01 * rows(120, 3, 0)
    pool = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    taken, score = nearest_to(own, pool, clusters=3)
    assert sorted(taken.tolist()) == [0, 1, 2]
    np.testing.assert_allclose(score[:3], 1, atol=1e-3)


def test_the_least_typical_of_a_cluster_come_first() -> None:
    angles = np.array([0, 0.01, -0.01, 0.3, 2, 2.01, 1.99, 1.5])
    pool = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    kept, score = far_from_prototypes(pool, 2, clusters=2)
    assert kept.tolist() == [7, 3]
    middle = np.array([pool[:4].mean(0), pool[4:].mean(0)])
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    np.testing.assert_allclose(score, 1 - (pool * middle.repeat(4, axis=0)).sum(1), atol=1e-5)
    with pytest.raises(UserError, match="between 1 and the 8 images"):
        far_from_prototypes(pool, 9)
