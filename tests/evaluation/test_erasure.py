"""Erased concepts are no longer linearly readable, and little else is gone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from unlabeled.core.errors import UserError
from unlabeled.evaluation.erasure import ERASERS, INLP, LEACE


def data(n=600, seed=0):
    rng = np.random.default_rng(seed)
    z, other = rng.integers(0, 3, n), rng.integers(0, 2, n)
    mix = np.linalg.qr(np.random.default_rng(9).normal(size=(8, 8))).Q
    return (np.c_[np.eye(3)[z] * 3, other[:, None] * 4, np.zeros((n, 4))] + rng.normal(size=(n, 8))) @ mix, z, other


@parametrize_with_checks([LEACE(), INLP(max_rounds=3)])
def test_scikit_learn(estimator, check):
    check(estimator)


def test_leace_is_the_closed_form():
    X, z, _ = data()
    eraser = LEACE().fit(X, z)
    # the paper's formula, by another decomposition: a square root of the covariance and pseudo-inverses
    Z = np.eye(3)[z]
    Xc, Zc = X - X.mean(0), Z - Z.mean(0)
    values, vectors = np.linalg.eigh(Xc.T @ Xc / len(X))
    root, W = vectors * values**0.5 @ vectors.T, vectors * values**-0.5 @ vectors.T
    cross = W @ Xc.T @ Zc / len(X)
    assert np.allclose(eraser.projection_, root @ cross @ np.linalg.pinv(cross) @ W, atol=1e-9)
    assert eraser.rank_ == 2


def test_leace_leaves_all_classes_with_one_mean_and_no_linear_reading():
    X, z, other = data()
    erased = LEACE().fit_transform(X, z)
    means = np.stack([erased[z == c].mean(0) for c in range(3)])
    assert np.abs(means - means[0]).max() < 1e-10
    assert np.allclose(means[0], X.mean(0))
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(erased, z)
    share = np.bincount(z) / len(z)
    loss = -np.log(fitted.predict_proba(erased)[np.arange(len(z)), z]).mean()
    assert loss == pytest.approx(-(share * np.log(share)).sum(), abs=1e-4)  # no more than a constant knows
    assert LogisticRegression().fit(erased, other).score(erased, other) > 0.9
    moved = np.square(erased - X).sum()
    assert moved < np.square(INLP().fit_transform(X, z) - X).sum()


def test_inlp_goes_on_until_nothing_is_readable():
    X, z, other = data()
    eraser = INLP(margin=0.05).fit(X, z)
    Z, answers, _ = data(seed=1)
    assert not eraser.readable_
    assert eraser.rounds_ == len(eraser.accuracies_) - 1 >= 1
    assert eraser.accuracies_[0] > 0.8
    assert np.allclose(eraser.projection_ @ eraser.projection_, eraser.projection_, atol=1e-9)
    erased = eraser.transform(X)
    assert LogisticRegression().fit(erased, z).score(eraser.transform(Z), answers) < 0.45
    assert LogisticRegression().fit(erased, other).score(erased, other) > 0.8
    assert INLP(max_rounds=0).fit(X, z).readable_


@pytest.mark.parametrize("name", ERASERS)
def test_torch_gives_what_numpy_gives(name):
    X, z, _ = data(200)
    ours = ERASERS[name]().fit(torch.from_numpy(X), torch.from_numpy(z)).transform(torch.from_numpy(X))
    assert isinstance(ours, torch.Tensor)
    assert np.allclose(ours, ERASERS[name]().fit_transform(X, z), atol=1e-9)


def test_bad_input():
    with pytest.raises(UserError, match="two classes"):
        INLP().fit(np.eye(3), [0, 0, 0])
    with pytest.raises(UserError, match="margin"):
        INLP(margin=2).fit(np.eye(3), [0, 1, 0])
    with pytest.raises(UserError, match="2 labels"):
        LEACE().fit(np.eye(3), [0, 1])
