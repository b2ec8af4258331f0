"""Unknown is what a classifier is unsure of: the largest softmax probability."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone
from torch import Tensor

from unlabeled.evaluation.detectors.base import Detector
from unlabeled.probes.arrays import Features
from unlabeled.probes.base import SoftmaxProbe
from unlabeled.probes.logistic import LogisticProbe


class LogitDetector(Detector):
    """A detector that reads the logits of a classifier trained on the known classes."""

    probe: SoftmaxProbe | None
    probe_: SoftmaxProbe

    def _learn(self, features: Features, labels: Any) -> Tensor:
        self.probe_ = LogisticProbe(device=self.device) if self.probe is None else clone(self.probe)
        self.probe_.fit(features, labels)
        return self._familiar(features)


class MaxSoftmaxDetector(LogitDetector):
    """Familiarity ``max_c p(c | x)`` (Hendrycks & Gimpel 2017, Sec. 3), in [1/C, 1].

    Args:
        probe: an unfitted classifier whose scores are logits; default: a logistic regression.
        contamination, device: see :class:`Detector`. Two classes are needed.
    """

    def __init__(
        self, probe: SoftmaxProbe | None = None, contamination: float = 0.05, device: str | None = None
    ) -> None:
        self.probe = probe
        self.contamination = contamination
        self.device = device

    def _familiar(self, features: Features) -> Tensor:
        return self.probe_.scores(features).softmax(1).amax(1)
