"""Nearest neighbours: exact search in blocks, votes for all settings at once, leave-one-out, indexes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.probes import search as search_module
from unlabeled.probes.arrays import InputError
from unlabeled.probes.base import ProbeWarning
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.indexes import FaissIndex
from unlabeled.probes.knn import KNNProbe, knn_reading
from unlabeled.probes.search import search, top
from unlabeled.probes.suite import run_probes


def features(n, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@given(n=st.integers(1, 3000), k=st.integers(1, 60), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_top_is_topk(n, k, seed):
    k = min(k, n)
    values = torch.from_numpy(np.random.default_rng(seed).integers(-50, 50, (4, n)).astype(np.float32))
    found, index = top(values, k)
    assert torch.equal(found, values.topk(k, dim=1).values)
    assert torch.equal(values.gather(1, index), found)
    assert all(len(set(row.tolist())) == k for row in index)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_of_any_size_give_the_same_neighbours(metric, monkeypatch):
    bank, queries = features(700), features(90, seed=1)
    whole = search(bank, queries, 12, metric=metric)
    assert search(bank, queries[:0], 12, metric=metric).index.shape == (0, 12)  # a rank's share of very few
    monkeypatch.setattr(search_module, "QUERIES", 32)
    monkeypatch.setattr(search_module, "BANK_VALUES", 100 * 8)
    monkeypatch.setattr(search_module, "TILE_VALUES", 1000)
    parts = search(bank, queries, 12, metric=metric)
    assert torch.allclose(whole.similarity, parts.similarity, atol=1e-5)
    assert (whole.index == parts.index).float().mean() > 0.999
    rows = np.arange(90) * 7
    alone = search(bank, bank[rows], 12, metric=metric, exclude_rows=rows)
    assert not (alone.index == torch.from_numpy(rows).unsqueeze(1)).any()


def test_euclidean_similarity_is_minus_squared_distance():
    bank, queries = features(300) + 1000, features(40, seed=1) + 1000
    found = search(bank, queries, 5, metric="euclidean")
    expected = -torch.cdist(torch.from_numpy(queries).double(), torch.from_numpy(bank).double()).square()
    assert torch.allclose(found.similarity.double(), expected.topk(5).values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weights", ["softmax", "uniform"])
def test_sweep_is_every_setting_alone(weights):
    bank, y, queries = features(400), np.random.default_rng(2).integers(0, 5, 400), features(70, seed=1)
    ks, temperatures = (7, 1, 50, 1000), (0.05, 0.2)
    swept = KNNProbe(weights=weights).fit(bank, y).sweep(queries, ks, temperatures)
    for i, k in enumerate(ks):
        for j, t in enumerate(temperatures):
            alone = KNNProbe(k, t, weights).fit(bank, y).predict(queries)
            assert (swept[i, j].numpy() == alone).mean() > 0.98  # votes that tie may fall either way


def test_leave_one_out_against_a_loop():
    bank, y = features(120), np.random.default_rng(2).integers(0, 3, 120)
    probe = KNNProbe(5).fit(bank, y)
    expected = [
        KNNProbe(5).fit(np.delete(bank, i, 0), np.delete(y, i)).predict(bank[i : i + 1])[0] == y[i] for i in range(120)
    ]
    assert float(probe.leave_one_out([5], [0.07])[0, 0]) == pytest.approx(np.mean(expected))
    assert knn_reading(bank, y, k=5) == pytest.approx(np.mean(expected))


def test_leave_one_out_of_some_rows():
    bank, y = features(300), np.random.default_rng(2).integers(0, 3, 300)
    few = KNNProbe((1, 5), max_rows=50).fit(bank, y)
    assert len(few.choices_) == 2
    assert few.k_ in (1, 5)
    torch_few = KNNProbe((1, 5), max_rows=50).fit(torch.from_numpy(bank), y)
    assert torch_few.choices_ == few.choices_


def test_small_temperature_does_not_overflow():
    bank = features(50)
    probe = KNNProbe(10, temperature=1e-6).fit(bank, np.arange(50) % 2)
    assert np.isfinite(probe.predict_proba(bank)).all()
    assert (probe.predict(bank) == np.arange(50) % 2).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_indexes(kind, metric):
    bank, y = features(2000, 16), np.arange(2000) % 4
    bank[:, :4] += 4 * np.eye(4, dtype=np.float32)[y]
    probe = KNNProbe(10, index=kind, metric=metric, temperature=0.5).fit(bank, y)
    assert probe.recall_ >= (1.0 if kind == "flat" else 0.9)
    exact = KNNProbe(10, metric=metric, temperature=0.5).fit(bank, y)
    queries = features(200, 16, seed=1)
    assert (probe.predict(queries) == exact.predict(queries)).mean() >= (1.0 if kind == "flat" else 0.9)


def test_poor_index_reports_its_poor_recall():
    bank = features(3000, 32)
    index = FaissIndex(bank, "ivf", probes=1)
    assert index.recall(20) < 0.6
    assert index.recall(1) < 0.7, "a row finds itself in any index, which says nothing"


def test_recall_is_the_share_of_neighbours_found():
    bank, k = features(1500, 16), 10
    index = FaissIndex(bank, "ivf", probes=2)
    unit = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    true = np.argsort(-cosine, axis=1)[:, :k]
    found = index.search(bank, k + 1).index.numpy()
    hits = [len(set(true[i]) & set(found[i][found[i] != i][:k])) for i in range(len(bank))]
    assert index.recall(k, rows=len(bank)) == pytest.approx(np.mean(hits) / k, abs=2e-3)
    assert FaissIndex(features(1), "flat").recall(5) == 1.0


@given(
    seed=st.integers(0, 1000),
    tensors=st.booleans(),
    metric=st.sampled_from(["cosine", "euclidean"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=25, deadline=None)
def test_partial_fit_is_fit_and_forget_is_its_inverse(seed, tensors, metric, dtype):
    """Rows that come later are rounded to what the bank holds, when they are learned and when they are forgotten."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-2, 3, (60, 4)).astype(np.float32) + np.float32(0.3), rng.integers(0, 5, 60)
    gone = y == 4  # a whole class goes, and some rows
    gone[:10] = True
    kept = ~gone
    bank = X.astype(dtype)
    kind = torch.from_numpy if tensors else np.asarray
    make = KNNProbe(k=(1, 3), temperature=0.1, metric=metric)
    whole = KNNProbe(**make.get_params()).fit(kind(bank), y)
    steps = KNNProbe(**make.get_params()).partial_fit(kind(bank[:20]), y[:20]).partial_fit(X[20:], y[20:])
    assert torch.equal(steps.scores(X), whole.scores(X))
    assert steps.k_ == whole.k_
    whole.forget(X[gone], y[gone])
    alone = KNNProbe(**make.get_params()).fit(kind(bank[kept]), y[kept])
    assert whole.classes_.tolist() == alone.classes_.tolist()
    assert len(whole.bank_) == int(kept.sum())
    # Among equal rows any may go: the multiset of rows and labels is the same, in another order.
    same = [
        sorted(zip(map(tuple, np.asarray(p.bank_).tolist()), p.codes_.tolist(), strict=True)) for p in (whole, alone)
    ]
    assert same[0] == same[1]


def test_forget_refuses_what_the_bank_does_not_hold():
    X = features(20)
    y = np.arange(20) % 3
    probe = KNNProbe().fit(X, y)
    for rows, labels in ((X[:1] + 1, y[:1]), (X[:1], y[:1] + 1), (X[[0, 0]], y[[0, 0]])):
        with pytest.raises(InputError, match="never learned"):
            probe.forget(rows, labels)
    with pytest.raises(InputError, match="every row"):
        probe.forget(X, y)
    assert len(probe.bank_) == 20
    text = KNNProbe().partial_fit(X, y.astype(str))
    with pytest.raises(InputError, match="text"):
        text.partial_fit(X, y)


def test_a_shared_offset_is_said():
    X, y = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % 2
    with pytest.warns(ProbeWarning, match="share an offset"):
        KNNProbe().fit(X + 1e3, y)
    far, near = (FeatureBank.from_arrays(X + offset, y) for offset in (1e3, 0.0))
    assert any("share an offset" in note for note in run_probes(far, far, ("knn",)).notes)
    assert not run_probes(near, near, ("knn",)).notes
