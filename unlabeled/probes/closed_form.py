"""The frame of probes that are functions of sums over samples: fit, partial_fit and its exact inverse, forget."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.core.errors import nearest
from unlabeled.probes.arrays import InputError, Labels
from unlabeled.probes.base import StreamingProbe
from unlabeled.probes.statistics import Statistics


class ClosedFormProbe(StreamingProbe):
    """A linear score ``W(x - m) + b`` solved from :class:`Statistics` when it is first needed.

    ``partial_fit`` in any order and any batch split gives the model of one ``fit`` (to float64 rounding), and
    ``forget`` takes rows out again as if they had never been seen.
    """

    square = True
    _dtype = torch.float64  # so that a large offset costs no digits; centred rows are float32
    statistics_: Statistics

    @property
    def classes_(self) -> Labels:  # type: ignore[override]
        """Those of the sums, which other probes may have taught further classes meanwhile."""
        return self.statistics_.classes

    @abstractmethod
    def _solve(self) -> tuple[Any, ...]:
        """Weights W (C, D), offsets b (C,) and centre m (D,) in float64, and what else is worth keeping.

        The scores are W(x - m) + b.
        """

    def _checks(self) -> dict[str, Any]:
        """Names of parameters with their allowed values."""
        return {}

    def _per_class(self) -> bool:
        """Whether second moments are kept for every class apart."""
        return False

    def fit(self, X: Any, y: Any = None) -> ClosedFormProbe:
        """Learn (N, D) features and (N,) labels, forgetting all before.

        Raises:
            InputError: features or labels that cannot be used, or an unknown parameter value.
        """
        features, labels, place = self._fit_inputs(X, y)
        self._check_parameters()
        statistics = self._empty(place)
        statistics.add(features, labels)
        self.statistics_ = statistics
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> ClosedFormProbe:
        """Learn more rows. New classes may appear at any time; ``classes`` is there for scikit-learn's callers only."""
        first = not hasattr(self, "statistics_")
        features, labels, place = self._fit_inputs(X, y, reset=first)
        self._check_parameters()
        statistics = self._empty(place) if first else self.statistics_
        statistics.add(features, labels)
        self.statistics_ = statistics
        return self

    def forget(self, X: Any, y: Any = None) -> ClosedFormProbe:
        """Take out rows learned before: the exact inverse of ``partial_fit``. A class without rows disappears.

        Raises:
            InputError: more rows of a class than were learned; the model stays as it was.
        """
        check_is_fitted(self)
        features, labels, _ = self._fit_inputs(X, y, reset=False)
        self.statistics_.remove(features, labels)
        return self

    def from_statistics(self, statistics: Statistics) -> ClosedFormProbe:
        """Use sums gathered already, shared with other probes (a later update shows in all of them)."""
        self._check_parameters()
        if self.square and not statistics.second:
            raise InputError(f"{type(self).__name__} needs statistics with second moments: Statistics(second=True).")
        if self._per_class() and not statistics.per_class:
            raise InputError(f"{type(self).__name__} needs statistics of each class: Statistics(per_class=True).")
        self.n_features_in_, self.statistics_ = statistics.dim, statistics
        return self

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weights (C, D) and biases (C,) in float64 of the linear layer that ranks the classes as this probe does.

        Raises:
            InputError: the scores are no linear function of the features.
        """
        weight, offset, centre = self._solution()[:3]
        return weight, offset - weight @ centre

    def _empty(self, place: torch.device) -> Statistics:
        return Statistics(self.n_features_in_, second=self.square, per_class=self._per_class(), device=place)

    def _check_parameters(self) -> None:
        for name, allowed in self._checks().items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"{type(self).__name__}: {name} cannot be {value!r}.{nearest(str(value), allowed)}")

    def _solution(self) -> Any:
        """What :meth:`_solve` gives for the present sums and parameters, solved once."""
        if not self.statistics_.n:
            raise InputError(f"{type(self).__name__} has forgotten every row it learned; fit it again.")
        # The cache lives with the sums: probes that share them and agree in their parameters share the solution.
        key = (type(self).__name__, *sorted((k, repr(v)) for k, v in self.get_params().items()))
        if key not in self.statistics_.cache:
            self.statistics_.cache[key] = self._solve()
        return self.statistics_.cache[key]

    def _scores(self, block: Tensor) -> Tensor:
        weight, offset, centre = self._solution()[:3]
        # Centring first, in float64, keeps float32 products accurate however far from zero all means are.
        apart = (block - centre.to(block.device)).float()
        return torch.addmm(offset.to(apart), apart, weight.T.to(apart))
