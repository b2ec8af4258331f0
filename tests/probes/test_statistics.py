"""Sums over samples: any order, any split, any classes, and forgetting as the exact inverse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.probes.arrays import InputError
from unlabeled.probes.catalog import probe_class
from unlabeled.probes.lda import LDAProbe, MahalanobisProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.statistics import Statistics
from unlabeled.probes.storage import load, save

PROBES = {
    "nmc": NearestMeanProbe,
    "cosine": lambda: NearestMeanProbe("cosine"),
    "lda": LDAProbe,
    "lda-fixed": lambda: LDAProbe(shrinkage=0.1),
    "ridge": RidgeProbe,
    "mahalanobis": MahalanobisProbe,
    "fecam": lambda: MahalanobisProbe("class", shrinkage=0.3),
}


@st.composite
def datasets(draw):
    """Rows and labels of some scale and offset, some of them equal; some classes may be missing."""
    n = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    scale, offset = 10 ** draw(st.floats(-2, 2)), draw(st.sampled_from([0.0, 1.0, -100.0]))
    X = (rng.normal(size=(n, 5)) * scale + offset).astype(np.float32)
    X = X[rng.integers(0, n, n)] if draw(st.booleans()) else X
    return X, rng.choice(draw(st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True)), n)


def same(left: Statistics, right: Statistics) -> None:
    assert (left.classes == right.classes).all()
    assert left.classes.shape == right.classes.shape
    assert torch.equal(left.count, right.count)
    for a, b in ((left.means, right.means), (left.within(), right.within()), (left.around_mean(), right.around_mean())):
        assert float((a - b).abs().max()) <= 1e-5 * max(float(b.abs().max()), 1e-6)


@pytest.mark.parametrize("name", PROBES)
@given(kept=datasets(), gone=datasets(), together=st.booleans())
@settings(max_examples=60, deadline=None)
def test_forget_is_the_inverse(name, kept, gone, together):
    """For any A and B: single rows, equal rows, classes of a row each, B ten thousand times larger than A."""
    (A, a), (B, b) = kept, gone
    if together:
        whole = PROBES[name]().fit(np.concatenate([A, B]), np.concatenate([a, b])).forget(B, b)
    else:
        whole = PROBES[name]().partial_fit(B, b).partial_fit(A, a).forget(B, b)
    alone = PROBES[name]().fit(A, a)
    assert (whole.classes_ == alone.classes_).all()
    if name != "nmc" and name != "cosine":
        same(whole.statistics_, alone.statistics_)
    expected = alone.scores(A)
    assert float((whole.scores(A) - expected).abs().max()) <= 1e-5 * max(float(expected.abs().max()), 1.0)


@given(data=datasets(), seed=st.integers(0, 2**32 - 1), per_class=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_order_and_split(data, seed, per_class):
    X, y = data
    whole = Statistics(5, per_class=per_class)
    whole.add(X, y)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    cuts = np.sort(rng.integers(0, len(X), 3))
    parts = Statistics(5, per_class=per_class)
    for rows in np.split(order, cuts):
        if len(rows):
            parts.add(X[rows], y[rows])
    same(parts, whole)


def test_against_plain_sums():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 8)) + 3, rng.integers(0, 4, 500)
    sums = Statistics(8, per_class=True)
    sums.add(X, y)
    means = np.stack([X[y == c].mean(0) for c in range(4)])
    assert np.allclose(sums.means, means)
    assert np.allclose(sums.within(), (X - means[y]).T @ (X - means[y]))
    assert np.allclose(sums.within_class(2), (X[y == 2] - means[2]).T @ (X[y == 2] - means[2]))
    assert np.allclose(sums.around_mean(), (X - X.mean(0)).T @ (X - X.mean(0)))


def test_many_tiny_batches_lose_nothing():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(3000, 3)) + 1e4).astype(np.float32)
    y = rng.integers(0, 2, 3000)
    whole, parts = Statistics(3), Statistics(3)
    whole.add(X, y)
    for i in range(len(X)):
        parts.add(X[i : i + 1], y[i : i + 1])
    exact = X.astype(np.longdouble)
    means = np.stack([exact[y == c].mean(0) for c in range(2)])
    within = (exact - means[y]).T @ (exact - means[y])
    for sums in (whole, parts):
        assert np.abs(sums.within().numpy() - within).max() <= 1e-9 * np.abs(within).max()


@pytest.mark.parametrize("name", PROBES)
def test_class_by_class_is_the_joint_solution(name):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 6, 400)
    X = (rng.normal(size=(6, 10))[y] * 3 + rng.normal(size=(400, 10))).astype(np.float32)
    joint, steps = PROBES[name]().fit(X, y), PROBES[name]()
    for c in (3, 0, 5, 1, 4, 2):
        steps.partial_fit(X[y == c], y[y == c])
    assert torch.allclose(steps.scores(X), joint.scores(X), rtol=1e-5, atol=1e-5)


def test_names_may_grow_longer():
    X = np.eye(3, dtype=np.float32)
    probe = (
        NearestMeanProbe().partial_fit(X[:1], ["b"]).partial_fit(X[1:2], ["a longer name"]).partial_fit(X[2:], ["c"])
    )
    assert probe.predict(X).tolist() == ["b", "a longer name", "c"]
    probe.forget(X[1:2], ["a longer name"])
    assert probe.classes_.tolist() == ["b", "c"]


def test_small_integer_labels_do_not_overflow_counts():
    X = np.random.default_rng(0).normal(size=(70_000, 2)).astype(np.float32)
    probe = NearestMeanProbe().fit(X, np.repeat(np.array([250, 255], np.uint8), 35_000))
    assert probe.statistics_.count.tolist() == [35_000, 35_000]
    assert probe.statistics_.count.dtype == torch.int64


@pytest.mark.parametrize("name", PROBES)
def test_cannot_forget_what_was_never_learned(name):
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    y = np.arange(20) % 3
    probe = PROBES[name]().fit(X, y)
    before = probe.scores(X)
    for rows, labels in ((X, np.full(20, 1)), (X[:1], np.array([9]))):
        with pytest.raises(InputError, match="only"):
            probe.forget(rows, labels)
    with pytest.raises(InputError, match="NaN"):
        probe.forget(X[:1] * np.nan, y[:1])
    assert torch.equal(probe.scores(X), before)


@pytest.mark.parametrize("name", PROBES)
def test_everything_forgotten(name):
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    huge = X * 1e12 + 1e13
    probe = PROBES[name]().fit(huge, y).forget(huge, y)
    with pytest.raises(InputError, match="forgotten every row"):
        probe.predict(X)
    assert torch.equal(probe.partial_fit(X, y).scores(X), PROBES[name]().fit(X, y).scores(X))


def test_what_one_probe_learns_shows_in_all_that_share_its_sums():
    X, y = np.random.default_rng(0).normal(size=(40, 4)) + 9 * np.eye(4).repeat(10, 0), np.arange(4).repeat(10)
    sums = Statistics(4)
    sums.add(X[:20], y[:20])
    first, second = NearestMeanProbe().from_statistics(sums), LDAProbe().from_statistics(sums)
    assert second.predict(X[:20]).tolist() == y[:20].tolist()
    first.partial_fit(X[20:], y[20:])
    assert second.classes_.tolist() == [0, 1, 2, 3]
    assert second.predict(X).tolist() == y.tolist()


def test_shared_sums_are_checked():
    with pytest.raises(InputError, match="second moments"):
        LDAProbe().from_statistics(Statistics(3, second=False))
    with pytest.raises(InputError, match="each class"):
        MahalanobisProbe("class").from_statistics(Statistics(3))


@pytest.mark.parametrize("probe", ["nmc", "lda", "ridge", "mahalanobis"])
@pytest.mark.parametrize("outlier", [1.0, 1e4])
def test_a_forgotten_row_leaves_no_trace_in_the_file(probe, outlier, tmp_path):
    """The first row is the first shift, and an outlier sets the extent: the file is as if neither was ever seen."""
    random = np.random.default_rng(3)
    X = (random.normal(size=(60, 5)) + 10).astype(np.float32)
    X[:, 3] = 2.5  # a constant column, but for the rows to forget
    y = np.arange(60) % 3
    X[:2] *= np.float32(outlier)
    X[1, 3] = 7
    taught = probe_class(probe)().partial_fit(X[:1], y[:1]).partial_fit(X[1:], y[1:]).forget(X[:2], y[:2])
    never = probe_class(probe)().partial_fit(X[2:], y[2:])
    save(taught, tmp_path / "taught.npz")
    save(never, tmp_path / "never.npz")
    with np.load(tmp_path / "taught.npz") as left, np.load(tmp_path / "never.npz") as right:
        assert left.files == right.files
        for name in left.files:
            if left[name].dtype.kind == "f":
                # of squares as large as the outlier's, 1e-20 is what rounding leaves
                allowed = 1e-12 * max(1.0, np.abs(right[name]).max(initial=0)) + 1e-19 * float(outlier * 100) ** 2
                assert np.abs(left[name] - right[name]).max(initial=0) <= allowed, name
            else:
                assert np.array_equal(left[name], right[name]), name
    assert np.allclose(load(tmp_path / "taught.npz").scores(X[2:]), never.scores(X[2:]), rtol=1e-5, atol=1e-5)
