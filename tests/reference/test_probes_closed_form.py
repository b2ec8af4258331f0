"""The closed-form probes against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid

from unlabeled.probes.lda import LDAProbe, MahalanobisProbe, shrunk_covariance
from unlabeled.probes.naive_bayes import NaiveBayesProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.teen import TEENProbe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 7, 1500)
    X = rng.normal(size=(7, 24))[y] * 1.2 + rng.normal(size=(1500, 24)) @ rng.normal(size=(24, 24)) * 0.5 + 100.0
    return X[:1000].astype(np.float32), y[:1000], X[1000:].astype(np.float32), y[1000:]


def test_nearest_centroid(data):
    X, y, Z, _ = data
    ours, theirs = NearestMeanProbe().fit(X, y), NearestCentroid().fit(X.astype(float), y)
    assert (ours.predict(Z) == theirs.predict(Z.astype(float))).all()
    assert np.allclose(ours.statistics_.means, theirs.centroids_, rtol=1e-6)


def test_cosine_means(data):
    X, y, Z, _ = data
    X, Z = X - 100, Z - 100
    means = np.stack([X[y == c].mean(0) for c in range(7)])
    cosine = (Z / np.linalg.norm(Z, axis=1, keepdims=True)) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    ours = NearestMeanProbe("cosine").fit(X, y)
    assert np.allclose(ours.decision_function(Z), cosine, atol=1e-5)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.7, 1.0])
def test_discriminant_analysis(data, shrinkage):
    X, y, Z, _ = data
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X.astype(float), y)
    ours = LDAProbe(shrinkage=shrinkage).fit(X, y)
    weight, bias = ours._solution()[:2]
    # scikit-learn leaves a term that is common to all classes in; only differences between classes matter.
    centred = theirs.coef_ - theirs.coef_.mean(0)
    assert np.allclose(weight - weight.mean(0), centred, rtol=1e-5, atol=1e-6 * np.abs(centred).max())
    assert (ours.predict(Z) == theirs.predict(Z.astype(float))).all()
    assert np.allclose(ours.predict_proba(Z), theirs.predict_proba(Z.astype(float)), atol=2e-4)
    assert bias.shape == (7,)


def test_oas_shrinkage(data):
    X = (data[0] - data[0].mean(0)).astype(float)
    ours = shrunk_covariance(torch.from_numpy(X.T @ X), len(X), "oas")
    assert np.allclose(ours, OAS(assume_centered=True).fit(X).covariance_, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_ridge(data, alpha):
    X, y, Z, _ = data
    ours = RidgeProbe(alpha, relative=False).fit(X, y)
    targets = np.where(y[:, None] == np.arange(7), 1.0, -1.0)
    reference = Ridge(alpha).fit(X.astype(float), targets)
    weight, bias = ours.weights(alpha)
    assert np.allclose(weight, reference.coef_, rtol=1e-6, atol=1e-9)
    assert np.allclose(bias, reference.intercept_, rtol=1e-6, atol=1e-6)
    theirs = RidgeClassifier(alpha).fit(X.astype(float), y)
    assert (ours.predict(Z) == theirs.predict(Z.astype(float))).all()
    assert np.allclose(ours.decision_function(Z), theirs.decision_function(Z.astype(float)), atol=1e-4)


def test_ridge_path_and_cross_validation(data):
    X, y, _, _ = data
    alphas = np.logspace(-3, 5, 20)
    ours = RidgeProbe(alphas, relative=False).fit(X, y)
    centred = X.astype(float) - X.mean(0, dtype=float)
    targets = np.where(y[:, None] == np.arange(7), 1.0, -1.0)
    hats = [centred @ np.linalg.solve(centred.T @ centred + a * np.eye(24), centred.T) + 1 / len(X) for a in alphas]
    errors = [((targets - h @ targets) ** 2).sum() / len(X) / (1 - np.trace(h) / len(X)) ** 2 for h in hats]
    assert np.allclose(ours.path().error, errors, rtol=1e-8)
    assert ours.alpha_ == pytest.approx(alphas[int(np.argmin(errors))])


def test_mahalanobis(data):
    X, y, Z, _ = data
    ours = MahalanobisProbe(shrinkage=0.0).fit(X, y)
    means = np.stack([X[y == c].astype(float).mean(0) for c in range(7)])
    within = X.astype(float) - means[y]
    inverse = np.linalg.inv(within.T @ within / len(X))
    apart = Z[:, None].astype(float) - means
    assert np.allclose(ours.scores(Z), -np.einsum("nci,ij,ncj->nc", apart, inverse, apart), rtol=1e-4)
    uniform = LDAProbe(shrinkage=0.0, priors="uniform").fit(X, y)
    assert (ours.predict(Z) == uniform.predict(Z)).all()


def test_class_covariances(data):
    X, y, Z, _ = data
    ours = MahalanobisProbe("class", shrinkage=0.2).fit(X, y)
    expected = []
    for c in range(7):
        rows = X[y == c].astype(float)
        cov = np.cov(rows.T, bias=True)
        cov = 0.8 * cov + 0.2 * np.trace(cov) / 24 * np.eye(24)
        spread = np.sqrt(np.diag(cov))
        inverse = np.linalg.inv(cov / np.outer(spread, spread))
        apart = Z.astype(float) - rows.mean(0)
        expected.append(-np.einsum("ni,ij,nj->n", apart, inverse, apart))
    assert np.allclose(ours.scores(Z), np.stack(expected, 1), rtol=1e-4)


def test_naive_bayes(data):
    X, y, Z, _ = data
    theirs = GaussianNB().fit(X.astype(float), y)
    ours = NaiveBayesProbe().fit(X, y)
    means, variance, _ = ours._solution()
    assert np.allclose(means + ours.origin_, theirs.theta_, rtol=1e-12)
    assert np.allclose(variance, theirs.var_, rtol=1e-9)
    assert np.allclose(ours.scores(Z), theirs.predict_joint_log_proba(Z.astype(float)), rtol=1e-5)
    assert (ours.predict(Z) == theirs.predict(Z.astype(float))).all()


def test_naive_bayes_forgets_exactly(data):
    X, y, Z, _ = data
    left = NaiveBayesProbe().fit(X, y).forget(X[600:], y[600:])
    again = NaiveBayesProbe().fit(X[:600], y[:600])
    assert np.allclose(left.scores(Z), again.scores(Z), rtol=1e-6)
    with pytest.raises(ValueError, match="cannot forget"):
        left.forget(X[:600], np.zeros(600, dtype=int))
    assert np.allclose(left.scores(Z), again.scores(Z), rtol=1e-6)


def test_prototypes_of_few_shot_classes(data):
    X, y, _, _ = data
    base, new = y < 5, (y >= 5) & (np.arange(len(y)) < 60)
    probe = TEENProbe(alpha=0.3, temperature=4.0).partial_fit(X[base], y[base]).partial_fit(X[new], y[new])
    means = np.stack([X[(base | new) & (y == c)].astype(float).mean(0) for c in range(7)])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    weight = np.exp(4.0 * unit[5:] @ unit[:5].T)
    wanted = 0.3 * means[5:] + 0.7 * (weight / weight.sum(1, keepdims=True)) @ means[:5]
    assert np.allclose(probe.prototypes()[5:], wanted, rtol=1e-9)
    assert np.allclose(probe.prototypes()[:5], means[:5], rtol=1e-9)


@pytest.mark.parametrize("n", [12, 25, 40, 41, 42])
def test_ridge_choice_with_fewer_rows_than_features(n):
    """As generalised cross-validation says by its definition, and near what leave-one-out finds by brute force."""
    rng = np.random.default_rng(n)
    y = np.arange(n) % 3
    X = rng.normal(size=(3, 40))[y] + 2.0 * rng.normal(size=(n, 40))
    targets = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
    alphas = np.logspace(-4, 5, 28)
    ours = RidgeProbe(alphas, relative=False).fit(X, y)
    centred = X - X.mean(0)
    left, found = [], []
    for alpha in alphas:
        residual = np.eye(n) - 1 / n - centred @ np.linalg.solve(centred.T @ centred + alpha * np.eye(40), centred.T)
        found.append(((residual @ targets) ** 2).sum() / n / (np.trace(residual) / n) ** 2)
        rows = [np.delete(np.arange(n), i) for i in range(n)]
        answers = [Ridge(alpha).fit(X[r], targets[r]).predict(X[i : i + 1])[0] for i, r in enumerate(rows)]
        left.append(((answers - targets) ** 2).sum())
    assert np.allclose(ours.path().error, found, rtol=1e-4)
    assert abs(int(np.argmin(ours.path().error)) - int(np.argmin(left))) <= 2
