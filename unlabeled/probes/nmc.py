"""Nearest class mean: the simplest probe, exemplar-free, streaming, exactly forgettable."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from unlabeled.probes.arrays import InputError
from unlabeled.probes.closed_form import ClosedFormProbe


class NearestMeanProbe(ClosedFormProbe):
    """Assign each row to the class whose mean is nearest (Mensink et al. 2013; iCaRL, Rebuffi et al. 2017, Eq. 2).

    The score of class c is ``-‖x - μ_c‖²`` (euclidean) or ``cos(x, μ_c)`` (cosine).

    Args:
        metric: ``"euclidean"`` (scikit-learn's ``NearestCentroid``) or ``"cosine"``.
        device: where to compute; default: where the features lie.

    >>> NearestMeanProbe().fit([[0.0, 0.0], [0.2, 0.0], [4.0, 4.0]], ["a", "a", "b"]).predict([[3.0, 3.0]])
    array(['b'], dtype='<U1')
    """

    title, column = "nearest mean", "NMC"
    square = False

    def __init__(self, metric: Literal["euclidean", "cosine"] = "euclidean", device: str | None = None) -> None:
        self.metric = metric
        self.device = device

    def _solve(self) -> tuple[Tensor, Tensor, Tensor]:
        means = self.statistics_.means
        if self.metric == "cosine":
            return F.normalize(means, dim=1), means.new_zeros(len(means)), means.new_zeros(means.shape[1])
        # -‖x - μ‖² = 2(x - m)ᵀ(μ - m) - ‖μ - m‖² - ‖x - m‖²; the last term is the row's own and comes with it.
        centre, apart = self.statistics_.mean, self.statistics_.apart()
        return 2 * apart, -apart.square().sum(1), centre

    def linear(self) -> tuple[Tensor, Tensor]:
        if self.metric == "cosine":
            raise InputError("NearestMeanProbe: a cosine is not a linear function; use metric='euclidean'.")
        return super().linear()

    def _scores(self, block: Tensor) -> Tensor:
        if self.metric == "cosine":
            return super()._scores(F.normalize(block, dim=1))
        centre: Tensor = self._solution()[2]
        apart = (block - centre.to(block.device)).float()
        return super()._scores(block) - apart.square().sum(1, keepdim=True)

    def _checks(self) -> dict[str, Any]:
        return {"metric": ("euclidean", "cosine")}
