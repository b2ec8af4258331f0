"""Distance to the nearest class under a covariance that all classes share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unlabeled.evaluation.detectors.base import Detector
from unlabeled.probes.arrays import Features
from unlabeled.probes.lda import MahalanobisProbe, Shrinkage


class MahalanobisDetector(Detector):
    """Familiarity ``-min_c (x - μ_c)ᵀ Σ⁻¹ (x - μ_c)`` (Lee et al. 2018, Eq. 2).

    Args:
        shrinkage: of the covariance, see :class:`~unlabeled.probes.LDAProbe`.
        contamination, device: see :class:`Detector`.

    >>> MahalanobisDetector().fit([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]]).predict([[9.0, 9.0]])
    array([-1])
    """

    probe_: MahalanobisProbe

    def __init__(self, shrinkage: Shrinkage = "oas", contamination: float = 0.05, device: str | None = None) -> None:
        self.shrinkage = shrinkage
        self.contamination = contamination
        self.device = device

    def _learn(self, features: Features, labels: Any) -> Tensor:
        self.probe_ = MahalanobisProbe(shrinkage=self.shrinkage, device=self.device).fit(features, labels)
        return self._familiar(features)

    def _familiar(self, features: Features) -> Tensor:
        return self.probe_.scores(features).amax(1)
