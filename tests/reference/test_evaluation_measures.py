"""Detectors and measures of the evaluation against scikit-learn, torchmetrics, scipy and the papers' formulas."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import mannwhitneyu
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional.clustering import adjusted_rand_score, normalized_mutual_info_score
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP, RetrievalRPrecision

from unlabeled.evaluation.clustering import KMeans, agreement
from unlabeled.evaluation.detectors import EnergyDetector, KNNDetector, MahalanobisDetector, MaxSoftmaxDetector
from unlabeled.evaluation.retrieval import retrieval
from unlabeled.evaluation.unknown import rejection_curve, separation
from unlabeled.probes.logistic import LogisticProbe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 500)
    X = rng.normal(size=(4, 8))[y] * 2 + rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8)) * 0.6 + 3
    return X[:300].astype(np.float32), y[:300], X[300:].astype(np.float32), y[300:]


def test_mahalanobis(data):
    X, y, Z, _ = data
    within = sum(np.cov(X[y == c].T.astype(float), bias=True) * (y == c).sum() for c in range(4)) / len(X)
    wanted = np.min(
        [cdist(Z, X[y == c].astype(float).mean(0, keepdims=True), "mahalanobis", VI=np.linalg.inv(within))[:, 0] ** 2
         for c in range(4)], axis=0,
    )  # fmt: skip
    assert np.allclose(MahalanobisDetector(shrinkage=0.0).fit(X, y).score_samples(Z), -wanted, rtol=1e-5)


def test_knn_distance(data):
    X, y, Z, _ = data
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X.astype(float), Z.astype(float))]
    wanted = np.sort(cdist(unit[1], unit[0]), axis=1)[:, 6]
    detector = KNNDetector(k=7, contamination=0.1).fit(X, y)
    assert np.allclose(detector.score_samples(Z), -wanted, atol=1e-4)
    inside = np.sort(cdist(unit[0], unit[0]), axis=1)[:, 7]  # the first is the row itself
    assert detector.offset_ == pytest.approx(-np.quantile(inside, 0.9), abs=1e-4)
    plain = KNNDetector(k=7, metric="euclidean").fit(X, y).score_samples(Z)
    assert np.allclose(plain, -np.sort(cdist(Z, X), axis=1)[:, 6], rtol=1e-4)


def test_energy_and_softmax(data):
    X, y, Z, _ = data
    theirs = LogisticRegression(C=1 / (len(X) * 1e-2), max_iter=2000, tol=1e-8).fit(X, y)
    probe = LogisticProbe(penalty=1e-2, relative=False, tol=1e-9)
    energy = EnergyDetector(probe, temperature=2.0).fit(X, y)
    wanted = 2 * logsumexp(energy.probe_.scores(Z).double().numpy() / 2, axis=1)
    assert np.allclose(energy.score_samples(Z), wanted, rtol=1e-5)
    assert np.allclose(MaxSoftmaxDetector(probe).fit(X, y).score_samples(Z), theirs.predict_proba(Z).max(1), atol=1e-3)


def test_separation():
    rng = np.random.default_rng(1)
    known, unknown = rng.normal(1, 1, 400).round(1), rng.normal(0, 1, 300).round(1)
    found = separation(torch.from_numpy(known), unknown)
    assert found["auroc"] == pytest.approx(mannwhitneyu(known, unknown).statistic / (400 * 300), abs=1e-12)
    threshold = max(t for t in known if (known >= t).mean() >= 0.95)
    assert found["fpr95"] == pytest.approx((unknown >= threshold).mean())


def test_rejection_curve():
    rng = np.random.default_rng(2)
    known, unknown, correct = rng.normal(1, 1, 80), rng.normal(0, 1, 60), rng.random(80) < 0.7
    curve = rejection_curve(known, correct, unknown)
    # the area is the share of (known, unknown) pairs in which the known row is right and scores above
    pairs = (known[:, None] > unknown[None]) & correct[:, None]
    assert curve.area == pytest.approx(pairs.mean())
    assert curve.right[-1] == pytest.approx(correct.mean())
    assert (curve.accepted[0], curve.accepted[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("itself", [True, False])
def test_retrieval(data, itself):
    X, y, Z, z = data
    found = retrieval(Z, z, ks=(1, 5)) if itself else retrieval(Z, z, X, y, ks=(1, 5))
    bank, labels = (Z, z) if itself else (X, y)
    unit = [torch.nn.functional.normalize(torch.from_numpy(a).double(), dim=1) for a in (Z, bank)]
    similar = unit[0] @ unit[1].T + 2  # torchmetrics takes scores of 0 for no answer
    kept = ~torch.eye(len(Z), dtype=torch.bool) if itself else torch.ones_like(similar, dtype=torch.bool)
    target = torch.from_numpy(z[:, None] == labels[None])[kept]
    rows = torch.arange(len(Z)).unsqueeze(1).expand_as(kept)[kept]
    for name, metric in {
        "map": RetrievalMAP(), "r_precision": RetrievalRPrecision(), "recall@1": RetrievalHitRate(top_k=1),
        "recall@5": RetrievalHitRate(top_k=5),
    }.items():  # fmt: skip
        assert found[name] == pytest.approx(float(metric(similar[kept].float(), target, indexes=rows)), abs=1e-5), name


def test_k_means_finds_what_scikit_learn_finds(data):
    X, _, Z, _ = data
    ours, theirs = KMeans(4, n_init=10).fit(X), SklearnKMeans(4, n_init=10, random_state=0).fit(X)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)
    assert agreement(ours.predict(Z), theirs.predict(Z))["ari"] == pytest.approx(1.0)


def test_agreement(data):
    y = data[1]
    clusters = np.where(np.random.default_rng(3).random(len(y)) < 0.4, (y + 1) % 4, y)
    found = agreement(clusters, y)
    a, b = torch.from_numpy(clusters), torch.from_numpy(y)
    assert found["nmi"] == pytest.approx(float(normalized_mutual_info_score(a, b)), abs=1e-6)
    assert found["ari"] == pytest.approx(float(adjusted_rand_score(a, b)), abs=1e-6)
    assert found["accuracy"] == pytest.approx((clusters == y).mean())
    shuffled = np.array([2, 3, 1, 0])[y]  # names of clusters do not matter
    assert agreement(shuffled, y) == pytest.approx({"nmi": 1.0, "ari": 1.0, "accuracy": 1.0})
    assert agreement(np.full(len(y), -1), y)["accuracy"] == 0.0
