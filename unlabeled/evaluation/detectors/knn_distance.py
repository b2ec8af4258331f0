"""Distance to the k-th nearest known row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.evaluation.detectors.base import Detector
from unlabeled.probes.arrays import Features, InputError, blocks, check_finite, device_of, take
from unlabeled.probes.search import Metric, search


class KNNDetector(Detector):
    """Minus the distance to the k-th nearest known row; for l2-normalised features (Sun et al. 2022, Eq. 3).

    Args:
        k: which neighbour; with fewer known rows, the farthest of them.
        metric: ``"cosine"``: distances of normalised features, as in the paper; ``"euclidean"``: of raw ones.
        contamination, device: see :class:`Detector`. Known rows are judged by all others.

    >>> KNNDetector(k=1, metric="euclidean").fit([[0.0], [1.0]]).score_samples([[3.0]])
    array([-2.])
    """

    bank_: Features

    def __init__(
        self, k: int = 50, metric: Metric = "cosine", contamination: float = 0.05, device: str | None = None
    ) -> None:
        self.k = k
        self.metric = metric
        self.contamination = contamination
        self.device = device

    def _learn(self, features: Features, labels: Any) -> Tensor:
        if self.k < 1:
            raise InputError(f"KNNDetector: k must be at least 1, not {self.k!r}.")
        check_finite(features)
        self.bank_ = features
        return self._distance(features, np.arange(len(features))) if len(features) > 1 else self._familiar(features)

    def _familiar(self, features: Features) -> Tensor:
        return self._distance(features, None)

    def _distance(self, features: Features, itself: Any) -> Tensor:
        k = min(self.k, len(self.bank_) - (itself is not None))
        place = device_of(features, self.device)
        found = search(self.bank_, features, k, metric=self.metric, device=place, exclude_rows=itself)
        farthest = found.index[:, -1].cpu().numpy()
        # of the pair found, in float64: a distance read off a float32 cosine has four digits at best
        parts = []
        for part, block in blocks(features, place, torch.float64):
            other = take(self.bank_, farthest[part], place, torch.float64)
            if self.metric == "cosine":
                block, other = F.normalize(block, dim=1), F.normalize(other, dim=1)
            parts.append((block - other).norm(dim=1))
        return -torch.cat(parts)
