"""What all detectors share: a score of how familiar a row is, and the threshold below which it is unknown."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.probes.arrays import Features, InputError, as_labels, like
from unlabeled.probes.base import OnFeatures
from unlabeled.probes.features import FeatureBank


class Detector(OutlierMixin, OnFeatures):  # type: ignore[misc]  # scikit-learn ships no types
    """Learns what is known, and says of each row how familiar it is: larger means more so.

    Args of every detector:
        contamination: share of the known rows that :meth:`predict` calls unknown, in [0, 0.5]; it sets ``offset_``
            and nothing else (AUROC and the like need no threshold).
        device: where to compute; default: where the features lie.
    """

    contamination: float
    offset_: float

    @abstractmethod
    def _learn(self, features: Features, labels: Any) -> Tensor:
        """Learn the known rows, and return how familiar each of them is (N,)."""

    @abstractmethod
    def _familiar(self, features: Features) -> Tensor:
        """(N, D) features to (N,) scores."""

    def fit(self, X: Any, y: Any = None) -> Detector:
        """Learn known (N, D) features with their (N,) labels; without labels they are one class.

        Raises:
            InputError: features or labels that cannot be used, a contamination outside [0, 0.5].
        """
        if not 0 <= self.contamination <= 0.5:
            raise InputError(f"{type(self).__name__}: contamination must be in [0, 0.5], not {self.contamination!r}.")
        if isinstance(X, FeatureBank) and y is None:
            y = X.labels
        features = self._inputs(X, reset=True)
        labels = np.zeros(len(features), dtype=np.int64) if y is None else as_labels(y, len(features))
        known = self._learn(features, labels)
        self.offset_ = float(np.quantile(known.cpu().double().numpy(), self.contamination))
        return self

    def score_samples(self, X: Any) -> Any:
        """How familiar each row is, (N,) float64; larger is more familiar."""
        check_is_fitted(self)
        return like(self._familiar(self._inputs(X)).double(), X)

    def decision_function(self, X: Any) -> Any:
        """:meth:`score_samples` less ``offset_``: below 0 is unknown."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Any:
        """1 for known rows, -1 for unknown ones, (N,)."""
        inside = self.decision_function(X) >= 0
        return 2 * (inside.long() if isinstance(inside, Tensor) else inside.astype(np.int64)) - 1
