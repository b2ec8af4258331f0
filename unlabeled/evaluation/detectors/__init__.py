"""Detectors of what training never showed, a file each; the list names them."""

from __future__ import annotations

from collections.abc import Callable

from unlabeled.evaluation.detectors.base import Detector
from unlabeled.evaluation.detectors.energy import EnergyDetector
from unlabeled.evaluation.detectors.knn_distance import KNNDetector
from unlabeled.evaluation.detectors.mahalanobis import MahalanobisDetector
from unlabeled.evaluation.detectors.max_softmax import MaxSoftmaxDetector

DETECTORS: dict[str, Callable[[], Detector]] = {
    "mahalanobis": MahalanobisDetector,
    "knn": KNNDetector,
    "energy": EnergyDetector,
    "msp": MaxSoftmaxDetector,
}

__all__ = [
    "DETECTORS",
    "Detector",
    "EnergyDetector",
    "KNNDetector",
    "MahalanobisDetector",
    "MaxSoftmaxDetector",
]
