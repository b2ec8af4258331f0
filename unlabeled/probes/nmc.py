"""Nearest class mean: the simplest probe, exemplar-free, streaming, exactly forgettable."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from unlabeled.probes.closed_form import ClosedFormProbe


class NearestMeanProbe(ClosedFormProbe):
    """Assign each row to the class whose mean is nearest (Mensink et al. 2013; iCaRL, Rebuffi et al. 2017, Eq. 2).

    The score of class c is ``-‖x - μ_c‖²`` (euclidean; up to a term that is the same for all classes) or
    ``cos(x, μ_c)`` (cosine).

    Args:
        metric: ``"euclidean"`` (scikit-learn's ``NearestCentroid``) or ``"cosine"``.
        device: where to compute; default: where the features lie.

    >>> NearestMeanProbe().fit([[0.0, 0.0], [0.2, 0.0], [4.0, 4.0]], ["a", "a", "b"]).predict([[3.0, 3.0]])
    array(['b'], dtype='<U1')
    """

    _second = False

    def __init__(self, metric: Literal["euclidean", "cosine"] = "euclidean", device: str | None = None) -> None:
        self.metric = metric
        self.device = device

    def _solve(self) -> tuple[Tensor, Tensor]:
        means = self.statistics_.means
        if self.metric == "cosine":
            return F.normalize(means, dim=1), means.new_zeros(len(means))
        # -‖x - μ‖² = 2(x - s)ᵀ(μ - s) - ‖μ - s‖² - ‖x - s‖²; the last term is common to all classes.
        centred = means - self.statistics_.shift
        return 2 * centred, -centred.square().sum(1) - 2 * centred @ self.statistics_.shift

    def _scores(self, block: Tensor) -> Tensor:
        return super()._scores(F.normalize(block, dim=1) if self.metric == "cosine" else block)

    def _checks(self) -> dict[str, Any]:
        return {"metric": ("euclidean", "cosine")}
