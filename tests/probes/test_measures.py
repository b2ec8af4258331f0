"""Measures of feature spaces against known answers and plain formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unlabeled.probes import measures as m
from unlabeled.probes.arrays import InputError
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.similarity import linear_cka, neighbourhood_overlap


def gaussian(n=400, dim=12, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, dim)))


def test_rankme_is_the_entropy_of_the_singular_values():
    X = gaussian() * torch.logspace(0, -3, 12)
    sigma = torch.linalg.svdvals(X)
    p = sigma / sigma.sum() + 1e-7
    assert m.rankme(X) == pytest.approx(float(torch.exp(-(p * p.log()).sum())), rel=1e-6)
    assert m.rankme(X[:, :1].repeat(1, 8)) == pytest.approx(1.0, abs=1e-3)
    assert m.rankme(torch.zeros(5, 3)) == pytest.approx(1.0, abs=1e-3)
    assert m.rankme(X * 7) == pytest.approx(m.rankme(X))


def test_effective_rank():
    X = gaussian() * torch.logspace(0, -1, 12)
    values = torch.linalg.eigvalsh(torch.cov(X.T))
    p = values / values.sum()
    assert m.effective_rank(X) == pytest.approx(float(torch.exp(-(p * p.log()).sum())))
    assert m.effective_rank(torch.ones(10, 4)) == 1.0
    assert m.effective_rank(X + 1000) == pytest.approx(m.effective_rank(X))


def test_lidar_against_the_formula():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(60, 1, 6)) + 0.3 * rng.normal(size=(60, 5, 6))
    means = views.mean(1)
    between = np.cov(means.T)
    within = sum((v - mu).T @ (v - mu) for v, mu in zip(views, means, strict=True)) / (60 * 4) + 1e-4 * np.eye(6)
    p = np.linalg.eigvals(np.linalg.solve(within, between)).real
    p = p / p.sum() + 1e-7
    assert m.lidar(views) == pytest.approx(float(np.exp(-(p * np.log(p)).sum())), rel=1e-6)
    with pytest.raises(InputError, match="N, V >= 2"):
        m.lidar(np.ones((4, 6)))


def test_alignment_and_uniformity_are_wang_and_isolas():
    X, Y = gaussian(200).float(), gaussian(200, seed=1).float()
    x, y = F.normalize(X, dim=1), F.normalize(Y, dim=1)
    assert m.alignment(X, Y) == pytest.approx(float((x - y).norm(dim=1).pow(2).mean()), abs=1e-5)
    assert 0 < m.alignment(X, X + 1e-4 * Y) < 1e-6, "views that nearly agree are told from equal ones"
    assert m.uniformity(X) == pytest.approx(float(torch.pdist(x).pow(2).mul(-2).exp().mean().log()), abs=1e-5)
    for collapsed in (torch.ones(50, 4), torch.zeros(50, 4)):
        assert m.uniformity(collapsed) == pytest.approx(0.0, abs=1e-6)
        assert m.neural_collapse(collapsed, np.arange(50) % 2)["nc2_norms"] == 0
    assert m.embedding_std(X) == pytest.approx(1.0, abs=0.1)


def test_tolerance_against_pairs():
    X, y = gaussian(60), np.arange(60) % 4
    x = F.normalize(X, dim=1)
    pairs = (y[:, None] == y) & ~np.eye(60, dtype=bool)
    assert m.tolerance(X, y) == pytest.approx(float((x @ x.T)[torch.from_numpy(pairs)].mean()))


@pytest.mark.parametrize("n", [10, 300])
def test_cka(n):
    X, Y = gaussian(n, 20) + 5, gaussian(n, 30, seed=1)
    H = torch.eye(n, dtype=torch.float64) - 1 / n
    K, L = H @ X @ X.T @ H, H @ Y @ Y.T @ H
    assert linear_cka(X, Y) == pytest.approx(float((K * L).sum() / K.norm() / L.norm()))
    Q = torch.linalg.qr(gaussian(20, 20, seed=3)).Q
    assert linear_cka(X, 3 * X @ Q - 1) == pytest.approx(1.0)
    assert linear_cka(X, torch.ones(n, 3)) == 0.0
    with pytest.raises(InputError, match="same rows"):
        linear_cka(X, Y[:-1])


def test_neighbourhood_overlap():
    X = gaussian(300)
    Q = torch.linalg.qr(gaussian(12, 12, seed=3)).Q
    assert neighbourhood_overlap(X, 2 * X @ Q) == pytest.approx(1.0, abs=0.01)
    assert neighbourhood_overlap(X, gaussian(300, seed=5)) < 0.15
    assert neighbourhood_overlap(X.half(), X.half().numpy()) == 1.0


def test_neural_collapse_of_a_simplex_and_of_noise():
    y = np.repeat(np.arange(4), 50)
    simplex = torch.eye(4)[torch.from_numpy(y)]
    collapsed = m.neural_collapse(simplex, y)
    assert collapsed == pytest.approx({"nc1": 0, "nc2_norms": 0, "nc2_angles": 0, "nc4": 1}, abs=1e-6)
    X = gaussian(200, 6)
    noisy = m.neural_collapse(X, y)
    assert noisy["nc1"] > 1
    assert noisy["nc4"] < 0.6
    means = np.stack([X[y == c].mean(0) for c in range(4)])
    within = (X - torch.from_numpy(means[y])).numpy()
    centred = means - means.mean(0)
    nc1 = np.trace(within.T @ within / 200 @ np.linalg.pinv(centred.T @ centred / 4)) / 4
    assert noisy["nc1"] == pytest.approx(nc1)


def test_all_measures_of_a_bank():
    X, y = gaussian(300).numpy(), np.arange(300) % 3
    found = m.measure(FeatureBank.from_arrays(X, y))
    assert found["rankme"] == m.rankme(X)
    assert found["nc1"] == m.neural_collapse(X, y)["nc1"]
    assert set(m.measure(FeatureBank.from_arrays(X, np.arange(300)))) == set(m.measure(FeatureBank.from_arrays(X)))
    some = m.measure(FeatureBank.from_arrays(X, y), max_rows=100)
    assert some["rankme"] != found["rankme"]
    assert some == m.measure(FeatureBank.from_arrays(X, y), max_rows=100)


@pytest.mark.parametrize("measure", [m.rankme, m.effective_rank, m.embedding_std, m.uniformity])
def test_nan_is_refused(measure):
    with pytest.raises(InputError, match="NaN"):
        measure(torch.full((4, 3), torch.nan))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_is_the_exponent_of_the_spectrum(alpha):
    n, dim = 400, 60
    rng = np.random.default_rng(0)
    U = np.linalg.qr(np.c_[np.ones(n), rng.normal(size=(n, dim))]).Q[:, 1:]  # columns of mean 0
    X = U * np.arange(1, dim + 1) ** (-alpha / 2) @ np.linalg.qr(rng.normal(size=(dim, dim))).Q
    assert m.alpha_req(X + 3) == pytest.approx(alpha, abs=1e-6)
    assert math.isnan(m.alpha_req(X[:, :11]))


def test_hopkins_knows_clusters_from_an_even_spread():
    rng = np.random.default_rng(0)
    even = rng.random((1000, 2))
    clusters = rng.random((8, 2))[rng.integers(0, 8, 1000)] + rng.normal(size=(1000, 2)) * 0.005
    assert m.hopkins(even) == pytest.approx(0.5, abs=0.06)
    assert m.hopkins(clusters) > 0.9
    assert math.isnan(m.hopkins(np.ones((20, 3))))
