"""Faults that gave wrong figures without a word, each with the right value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from unlabeled.probes import (
    KNNProbe,
    LDAProbe,
    LinearProbe,
    LogisticProbe,
    NearestMeanProbe,
    RidgeProbe,
    load,
    save,
)
from unlabeled.probes.arrays import InputError
from unlabeled.probes.measures import neural_collapse
from unlabeled.probes.row_prints import RowPrints
from unlabeled.probes.scoring import kept_confusion, read_confusion
from unlabeled.probes.search import Neighbours
from unlabeled.probes.store import lost_to_rounding


def blobs(n: int, dim: int, classes: int = 3, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, dim)) + apart * np.eye(classes, dim)[y], y


@pytest.mark.parametrize("n", [20, 41, 61, 90])  # D + 1 = 61
def test_ridge_chooses_a_strength_as_good_as_leave_one_out(n: int) -> None:
    X, y = blobs(n, 60, apart=1.5, seed=n)
    probe = RidgeProbe().fit(X, y)
    alphas = probe.path().alphas.numpy()
    targets = 2.0 * np.eye(3)[y] - 1
    errors = []
    for alpha in alphas:
        left = 0.0
        for i in range(n):
            rest = np.arange(n) != i
            centre, level = X[rest].mean(0), targets[rest].mean(0)
            Z = X[rest] - centre
            dual = np.linalg.solve(Z @ Z.T + alpha * np.eye(n - 1), targets[rest] - level)
            left += ((level + (X[i] - centre) @ Z.T @ dual - targets[i]) ** 2).sum()
        errors.append(left / n)
    chosen = errors[int(np.argmin(np.abs(alphas - probe.alpha_)))]
    assert chosen <= 1.05 * min(errors)
    assert int(probe.path().error.argmin()) > 0


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_logistic_regression_does_not_depend_on_the_scale(scale: float) -> None:
    X, y = blobs(300, 20)
    reference = LogisticProbe().fit(X.astype(np.float32), y)
    probe = LogisticProbe().fit((scale * X).astype(np.float32), y)
    assert probe.penalty_ == reference.penalty_
    assert probe.score((scale * X).astype(np.float32), y) == pytest.approx(
        reference.score(X.astype(np.float32), y), abs=0.01
    )


def test_a_penalty_at_the_edge_of_its_list_is_said() -> None:
    X, y = blobs(300, 20)
    assert LogisticProbe(penalty=(1e3, 1e2)).fit(X, y).at_edge_
    assert not LogisticProbe(penalty=1e-3).fit(X, y).at_edge_
    assert not LogisticProbe().fit(X, y).at_edge_


def test_features_that_float16_would_ruin_are_noticed() -> None:
    rng = np.random.default_rng(0)
    plain = torch.tensor(rng.normal(size=(256, 8)), dtype=torch.float32)
    dead = plain.clone()
    dead[:, 3] = 1 + 1e-7 * plain[:, 3]  # constant but for rounding: nothing is lost
    assert not lost_to_rounding(plain)
    assert not lost_to_rounding(dead)
    assert lost_to_rounding(1000 + 0.1 * plain)
    assert lost_to_rounding(1e-9 * plain)
    one = plain.clone()
    one[:, 5] += 1000
    assert lost_to_rounding(one)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_scores_are_right_however_far_from_zero_the_features_lie(offset: float) -> None:
    X, y = blobs(400, 10)
    shifted = X + offset
    ours = LDAProbe(shrinkage=0.1).fit(shifted, y).scores(shifted).numpy()
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(X, y).decision_function(X)
    ours, theirs = (values - values.mean(1, keepdims=True) for values in (ours, theirs))
    assert np.abs(ours - theirs).max() < 1e-3
    near = NearestMeanProbe().fit(shifted, y).scores(shifted).numpy()
    means = np.stack([X[y == c].mean(0) for c in range(3)])
    assert np.abs(near + ((X[:, None] - means) ** 2).sum(2)).max() < 1e-3


def test_neighbours_that_an_index_did_not_find_have_no_vote() -> None:
    probe = KNNProbe(k=3, weights="uniform", metric="euclidean").fit(np.eye(3), ["a", "b", "c"])
    found = Neighbours(torch.tensor([[-1.0, -torch.inf, -torch.inf]]), torch.tensor([[2, 0, 0]]))
    probe.neighbours = lambda X, k=None: found  # type: ignore[method-assign]
    assert probe.scores(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 1.0]]


def test_identical_class_means_are_no_collapse() -> None:
    X = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    assert neural_collapse(X, [0, 0, 1, 1])["nc1"] == np.inf
    assert neural_collapse(X + 1e3, [0, 0, 1, 1])["nc1"] == np.inf


def test_with_one_row_a_class_the_rate_is_the_stated_one() -> None:
    probe = LinearProbe().fit(np.eye(4), np.arange(4))
    assert (probe.best_.lr, probe.best_.weight_decay) == (0.1, 0.0)
    assert probe.score(np.eye(4), np.arange(4)) == 1.0


@pytest.mark.parametrize("probe", [NearestMeanProbe(), LDAProbe(), RidgeProbe(), KNNProbe(metric="euclidean")])
def test_only_what_was_learned_can_be_forgotten(probe: NearestMeanProbe) -> None:
    X, y = blobs(60, 5)
    X[0, 0] = 0.0
    probe.fit(X, y)
    before = probe.scores(X).clone()
    for rows, labels in ((X[:2] + 1e-9, y[:2]), (X[:2], y[1:3]), (np.stack([X[0], X[0]]), y[[0, 0]])):
        with pytest.raises(InputError, match="never learned"):
            probe.forget(rows, labels)
        assert torch.equal(probe.scores(X), before)
    negative = X[:1].copy()
    negative[0, 0] = -0.0
    probe.forget(negative, y[:1])
    rest = type(probe)(**probe.get_params()).fit(X[1:], y[1:])
    assert torch.allclose(probe.scores(X), rest.scores(X), atol=1e-5)


def test_what_was_learned_is_known_after_loading(tmp_path) -> None:
    X, y = blobs(30, 4)
    save(LDAProbe().fit(X, y), tmp_path / "p.npz")
    probe = load(tmp_path / "p.npz")
    with pytest.raises(InputError, match="never learned"):
        probe.forget(X[:1] + 1, y[:1])
    probe.forget(X[:3], y[:3])
    assert probe.statistics_.n == 27


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(0, 5), max_size=10))
def test_prints_are_a_multiset(there: list[int], gone: list[int]) -> None:
    prints = RowPrints()
    for value in there:
        prints.add(np.array([value]))
    rest = list(there)
    try:
        for value in gone:
            rest.remove(value)
    except ValueError:
        with pytest.raises(InputError):
            prints.remove(np.array(gone, dtype=np.int64))
        rest = there
    else:
        prints.remove(np.array(gone, dtype=np.int64))
    assert prints.settle().tolist() == sorted(rest)


def test_confusions_of_many_classes_are_kept_sparse() -> None:
    dense = np.arange(9).reshape(3, 3)
    assert (read_confusion(kept_confusion(dense.tolist()), 3) == dense).all()
    many = np.zeros((101, 101), np.int64)
    many[3, 7], many[100, 100] = 4, 1
    kept = kept_confusion(many.tolist())
    assert kept == {"row, column, count": [[3, 7, 4], [100, 100, 1]]}
    assert (read_confusion(kept, 101) == many).all()
    assert read_confusion({"row, column, count": [[3, 700, 4]]}, 101) is None


def test_rows_that_are_refused_leave_no_print() -> None:
    X, y = blobs(12, 4)
    probe = NearestMeanProbe().fit(X, y)
    before = probe.statistics_.prints.settle().tolist()
    with pytest.raises(InputError, match="text"):
        probe.partial_fit(X + 1, np.array(["a", "b", "c"] * 4))
    assert probe.statistics_.prints.settle().tolist() == before
