"""FeTrIL: features of new classes, moved to where the old classes' means are, stand in for the old ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.rng import torch_generator
from unlabeled.probes.arrays import InputError, encode, take
from unlabeled.probes.base import SoftmaxProbe, StreamingProbe, class_codes
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.statistics import Statistics


class FeTrILProbe(SoftmaxProbe, StreamingProbe):
    """Exemplar-free class-incremental classifier (Petit et al. 2023, Eqs. 1-2).

    Of an old class c only its mean μ_c is kept. At each ``partial_fit`` the new class n whose mean is most similar to
    it (cosine) lends its rows: ``x + μ_c - μ_n``. A linear classifier is trained again on the real rows of the new
    classes and these pseudo-features of the old ones, all of unit length.

    Args:
        penalty: λ of the :class:`LogisticProbe` that classifies.
        rows_per_class: at most so many (pseudo-)rows a class.
        seed: of the draw of rows.
        device: where to compute; default: where the features lie.
    """

    title = "FeTrIL"
    statistics_: Statistics
    classifier_: LogisticProbe | None

    def __init__(
        self, penalty: float = 1e-4, rows_per_class: int = 500, seed: int = 0, device: str | None = None
    ) -> None:
        self.penalty = penalty
        self.rows_per_class = rows_per_class
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any = None) -> FeTrILProbe:
        """Learn a first set of classes."""
        self.__dict__.pop("statistics_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> FeTrILProbe:
        """Learn the next classes from (N, D) features and (N,) labels; ``classes`` is there for scikit-learn's callers.

        Raises:
            InputError: features or labels that cannot be used.
        """
        if self.rows_per_class < 1:
            raise InputError(f"FeTrILProbe: rows_per_class must be at least 1, not {self.rows_per_class!r}.")
        first = not hasattr(self, "statistics_")
        features, labels, place = self._fit_inputs(X, y, reset=first)
        statistics = Statistics(self.n_features_in_, second=False, device=place) if first else self.statistics_
        statistics.add(features, labels)
        new, codes = class_codes(labels)
        means = statistics.means
        at_new = encode(new, statistics.classes)
        rows: dict[int, Tensor] = {}
        for number, position in enumerate(at_new.tolist()):
            mine = torch.from_numpy((codes == number).nonzero()[0])
            generator = torch_generator(self.seed, "fetril", len(statistics.classes), position)
            chosen = mine[torch.randperm(len(mine), generator=generator)[: self.rows_per_class]].sort().values
            rows[position] = take(features, chosen.numpy(), place)
        similarity = (
            F.normalize(means, dim=1) @ F.normalize(means[send(torch.from_numpy(at_new), means.device)], dim=1).T
        )
        parts, targets = [], []
        for position in range(len(statistics.classes)):
            if position in rows:
                part = rows[position]
            else:
                lender = int(at_new[int(similarity[position].argmax())])
                part = rows[lender] + (means[position] - means[lender]).to(rows[lender])
            parts.append(F.normalize(part, dim=1))
            targets.append(torch.full((len(part),), position))
        classifier = None  # of a single class, which is the answer to everything
        if len(parts) > 1:
            classifier = LogisticProbe(self.penalty, device=self.device)
            classifier.fit(torch.cat(parts), statistics.classes[torch.cat(targets).numpy()])
        self.statistics_, self.classifier_, self.classes_ = statistics, classifier, statistics.classes
        return self

    def _scores(self, block: Tensor) -> Tensor:
        if self.classifier_ is None:
            return block.new_zeros(len(block), 1)
        return self.classifier_._scores(F.normalize(block, dim=1))
