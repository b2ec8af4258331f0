"""Nearest neighbours against scikit-learn and lightly."""

import numpy as np
import pytest
import torch
from lightly.utils.benchmarking import knn_predict
from sklearn.neighbors import KNeighborsClassifier

from unlabeled.probes.knn import KNNProbe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 2000)
    X = (rng.normal(size=(6, 20))[y] + 1.5 * rng.normal(size=(2000, 20))).astype(np.float32)
    return X[:1500], y[:1500], X[1500:], y[1500:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 7, 50])
def test_scikit_learn(data, metric, k):
    X, y, Z, _ = data
    ours = KNNProbe(k, weights="uniform", metric=metric).fit(X, y)
    theirs = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(X, y)
    assert (ours.predict(Z) == theirs.predict(Z)).all()
    assert np.allclose(ours.predict_proba(Z), theirs.predict_proba(Z), atol=1e-6)


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (200, 0.1), (5, 0.5)])
def test_lightly(data, k, temperature):
    X, y, Z, _ = data
    bank, queries = (torch.nn.functional.normalize(torch.from_numpy(a), dim=1) for a in (X, Z))
    theirs = knn_predict(queries, bank.T.contiguous(), torch.from_numpy(y), num_classes=6, knn_k=k, knn_t=temperature)
    ours = KNNProbe(k, temperature).fit(X, y).predict(Z)
    assert (ours == theirs[:, 0].numpy()).all()
