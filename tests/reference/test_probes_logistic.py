"""The logistic path against scikit-learn's LogisticRegression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from unlabeled.probes.logistic import LogisticProbe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 1200)
    X = rng.normal(size=(6, 15))[y] * 0.7 + rng.normal(size=(1200, 15)) @ rng.normal(size=(15, 15)) + 5
    return X.astype(np.float32), y


def objective(weight, bias, X, y, penalty):
    logits = X.astype(float) @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean() + penalty / 2 * (weight**2).sum()


def test_every_point_of_the_path(data):
    X, y = data
    penalties = np.logspace(-1, -4, 4)
    path = LogisticProbe(penalties, relative=False, tol=1e-9).path(X, y)
    assert [point.penalty for point, _, _ in path] == pytest.approx(penalties.tolist())
    for point, weight, bias in path:
        theirs = LogisticRegression(C=1 / (len(X) * point.penalty), tol=1e-9, solver="newton-cholesky").fit(
            X.astype(float), y
        )
        best = objective(theirs.coef_, theirs.intercept_, X, y, point.penalty)
        ours = objective(weight.double().numpy(), bias.double().numpy(), X, y, point.penalty)
        assert point.objective == pytest.approx(ours, rel=1e-5)
        assert ours == pytest.approx(best, rel=1e-5)
        assert np.allclose(weight, theirs.coef_, atol=0.02 * np.abs(theirs.coef_).max())


def test_warm_and_cold_starts_end_alike(data):
    X, y = data
    *_, (point, weight, _) = LogisticProbe((1e-1, 1e-2, 1e-3), relative=False, tol=1e-9).path(X, y)
    ((alone, cold, _),) = LogisticProbe(1e-3, relative=False, tol=1e-9).path(X, y)
    assert point.objective == pytest.approx(alone.objective, rel=1e-6)
    assert torch.allclose(weight, cold, atol=0.01 * float(cold.abs().max()))


def test_standardised(data):
    X, y = data
    X = X * np.logspace(-3, 3, 15).astype(np.float32)
    ((point, weight, bias),) = LogisticProbe(1e-3, standardise=True, relative=False, tol=1e-9).path(X, y)
    scaled = (X - X.mean(0)) / X.std(0)
    theirs = LogisticRegression(C=1 / (len(X) * 1e-3), tol=1e-9, solver="newton-cholesky").fit(scaled.astype(float), y)
    assert point.objective == pytest.approx(objective(theirs.coef_, theirs.intercept_, scaled, y, 1e-3), rel=1e-4)
    logits = X @ weight.numpy().T + bias.numpy()
    assert (logits.argmax(1) == theirs.predict(scaled)).mean() > 0.99


def test_separable_classes_and_a_tiny_penalty_stay_finite():
    X = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    y = np.repeat(np.arange(3), 20)
    probe = LogisticProbe(0.0, max_iter=50).fit(X, y)
    assert torch.isfinite(probe.coef_).all()
    assert probe.score(X, y) == 1.0
    constant = LogisticProbe(1e-3).fit(np.ones((60, 3), np.float32), np.arange(60) % 3)
    assert np.allclose(constant.predict_proba(np.ones((1, 3))), 1 / 3, atol=1e-3)


def test_choice_and_early_end_of_the_path(data):
    X, y = data
    rng = np.random.default_rng(3)
    few = rng.choice(len(X), 90, replace=False)
    probe = LogisticProbe(np.logspace(0, -8, 30)).fit(X[few], y[few])
    assert len(probe.path_) < 30
    assert probe.penalty_ in [point.penalty for point in probe.path_]
