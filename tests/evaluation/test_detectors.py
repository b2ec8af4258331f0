"""Manners of the detectors and of k-means: scikit-learn's checks, numpy and torch, bad input."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from unlabeled.core.errors import UserError
from unlabeled.evaluation.clustering import KMeans, agreement, number_of_classes
from unlabeled.evaluation.detectors import DETECTORS, KNNDetector, MahalanobisDetector
from unlabeled.evaluation.retrieval import duplicates, retrieval
from unlabeled.evaluation.unknown import rejection_curve, separation

WHY = "training rows are judged by the others, not by themselves"
OF_TRAINING_ROWS = {"check_outliers_fit_predict": WHY, "check_outliers_train": WHY}


@parametrize_with_checks(
    [KNNDetector(k=5), MahalanobisDetector(), KMeans(3)],
    expected_failed_checks=lambda one: OF_TRAINING_ROWS if isinstance(one, KNNDetector) else {},
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_the_unknown_on_numpy_and_torch(name):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    X = (rng.normal(size=(3, 6))[y] * 6 + rng.normal(size=(200, 6))).astype(np.float32)
    far = (rng.normal(size=(50, 6)) * 0.3).astype(np.float32)  # in the middle of all classes
    detector = clone(DETECTORS[name]()).set_params(contamination=0.1).fit(X, y)
    found = separation(detector.score_samples(X), detector.score_samples(far))
    assert found["auroc"] > 0.9
    assert (detector.predict(X) == -1).mean() == pytest.approx(0.1, abs=0.02)
    tensor = clone(detector).fit(torch.from_numpy(X), torch.from_numpy(y)).score_samples(torch.from_numpy(far))
    assert torch.allclose(tensor, torch.from_numpy(np.asarray(detector.score_samples(far))), rtol=1e-4, atol=1e-4)


def test_number_of_classes_and_duplicates():
    rng = np.random.default_rng(0)
    X = np.eye(5)[np.arange(100) % 5] * 10 + rng.normal(size=(100, 5))
    assert number_of_classes(X, range(2, 9)) == 5
    X[7] = 3 * X[3]
    assert [pair[:2] for pair in duplicates(X, 0.99999)] == [(3, 7)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: separation([], [1.0]), "known scores"),
        (lambda: separation([np.nan], [1.0]), "finite"),
        (lambda: rejection_curve([1.0, 2.0], [True], [0.0]), "2 known scores"),
        (lambda: retrieval(np.eye(3), [0, 1, 2]), "two rows"),
        (lambda: retrieval(np.eye(3), [0, 1]), "2 labels"),
        (lambda: retrieval(np.eye(3), [0, 1, 1], np.eye(4), [0, 0, 1, 1]), "one space"),
        (lambda: agreement([0, 1], [0]), "1 labels"),
        (lambda: number_of_classes(np.eye(3), [7]), "candidates"),
        (lambda: KNNDetector(contamination=0.9).fit(np.eye(3)), "contamination"),
        (lambda: DETECTORS["msp"]().fit(np.eye(3)), "two classes"),
    ],
)
def test_bad_input_is_said_in_one_line(call, said):
    with pytest.raises(UserError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
