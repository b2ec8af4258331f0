"""Unknown is where all logits are small: the free energy of a classifier."""

from __future__ import annotations

from torch import Tensor

from unlabeled.evaluation.detectors.max_softmax import LogitDetector
from unlabeled.probes.arrays import Features, InputError
from unlabeled.probes.base import SoftmaxProbe


class EnergyDetector(LogitDetector):
    """Familiarity ``T log Σ_c exp(f_c(x) / T)``, the negative free energy (Liu et al. 2020, Eq. 4).

    Args:
        probe: an unfitted classifier whose scores are logits; default: a logistic regression.
        temperature: T > 0.
        contamination, device: see :class:`Detector`. Two classes are needed.
    """

    def __init__(
        self,
        probe: SoftmaxProbe | None = None,
        temperature: float = 1.0,
        contamination: float = 0.05,
        device: str | None = None,
    ) -> None:
        self.probe = probe
        self.temperature = temperature
        self.contamination = contamination
        self.device = device

    def _familiar(self, features: Features) -> Tensor:
        if self.temperature <= 0:
            raise InputError(f"EnergyDetector: temperature must be above 0, not {self.temperature!r}.")
        return self.temperature * (self.probe_.scores(features) / self.temperature).logsumexp(1)
