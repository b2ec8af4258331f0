"""k nearest neighbours: every (k, temperature) from one search."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.device import send
from unlabeled.core.errors import nearest
from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import (
    Features,
    InputError,
    Labels,
    blocks,
    check_finite,
    device_of,
    encode,
    like,
    shown,
    take,
)
from unlabeled.probes.base import Probe, ProbeWarning, class_codes
from unlabeled.probes.search import Metric, Neighbours, search, search_on_ranks

if TYPE_CHECKING:
    from typing_extensions import Self

    from unlabeled.probes.indexes import FaissIndex, Kind

KS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.03, 0.07, 0.1, 0.2)
"""What the suite chooses from."""
SHARED = 0.999  # mean cosine of all rows, above which cosines differ in the fourth digit only
VOTES = 1 << 22  # votes (rows x classes) held at once: 16 MB


@dataclass(frozen=True)
class KNNChoice:
    """One (k, temperature) and its leave-one-out accuracy on the bank."""

    k: int
    temperature: float
    accuracy: float


class KNNProbe(Probe):
    """Weighted k-nearest-neighbour vote (Wu et al. 2018, Sec. 3.4): class c gets Σ exp(s_i / τ) over neighbours of c.

    Given several ``k`` or temperatures, ``fit`` chooses by leave-one-out accuracy on the bank, from one search.

    Args:
        k: neighbours, or several to choose from; more than there are means all.
        temperature: τ, or several to choose from. For euclidean distances s_i is minus the squared distance.
        weights: ``"softmax"`` as above, or ``"uniform"`` for a majority vote (scikit-learn's default).
        metric: ``"cosine"`` or ``"euclidean"``.
        max_rows: at most so many bank rows are left out in turn when choosing (drawn by ``seed``).
        seed: of that draw.
        index: None for exact search, or a faiss index for banks of millions of rows: ``"flat"``, ``"ivf"``, ``"hnsw"``
            (:class:`~unlabeled.probes.indexes.FaissIndex`); choosing among several k is exact all the same.
        device: where to compute; default: where the features lie.
        on_ranks: share the search out over the ranks of torch.distributed, which must all use the probe alike.

    Attributes:
        k_, temperature_: what was chosen.
        recall_: share of the true neighbours that the index finds (None: exact search).
        choices_: every combination's leave-one-out accuracy (empty where there was nothing to choose).

    >>> KNNProbe(k=1).fit([[0.0, 1.0], [1.0, 0.0]], ["up", "right"]).predict([[0.1, 2.0]])
    array(['up'], dtype='<U5')
    """

    title = "kNN"
    records = (KNNChoice,)
    k_: int
    temperature_: float
    recall_: float | None
    choices_: tuple[KNNChoice, ...]
    bank_: Features
    codes_: Tensor
    _index: FaissIndex | None

    def __init__(
        self,
        k: int | Sequence[int] = 20,
        temperature: float | Sequence[float] = 0.07,
        weights: Literal["softmax", "uniform"] = "softmax",
        metric: Metric = "cosine",
        max_rows: int = 10_000,
        seed: int = 0,
        index: Kind | None = None,
        device: str | None = None,
        on_ranks: bool = False,
    ) -> None:
        self.k = k
        self.temperature = temperature
        self.weights = weights
        self.metric = metric
        self.max_rows = max_rows
        self.seed = seed
        self.index = index
        self.device = device
        self.on_ranks = on_ranks

    @classmethod
    def for_suite(cls, seed: int, device: str | None) -> Self:
        return cls(KS, TEMPERATURES, seed=seed, device=device, on_ranks=dist.active())

    def chosen(self) -> dict[str, Any]:
        return {"k": self.k_, "temperature": self.temperature_, "metric": self.metric}

    def fit(self, X: Any, y: Any = None) -> KNNProbe:
        """Keep the bank (a reference, no copy) and choose k and the temperature where several are given.

        Raises:
            InputError: features or labels that cannot be used, k < 1, temperature <= 0.
        """
        self._grid()
        features, labels, _ = self._fit_inputs(X, y)
        check_finite(features)
        return self._keep(features, labels)

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> KNNProbe:
        """Add rows to a copy of the bank and choose again; ``classes`` is there for scikit-learn's callers only."""
        if not hasattr(self, "bank_"):
            return self.fit(X, y)
        self._grid()
        features, labels, _ = self._fit_inputs(X, y, reset=False)
        more = self._as_kept(features)
        known = self.classes_[self.codes_.cpu().numpy()]
        encode(labels, self.classes_)  # text among numbers is an error, not a cast
        if isinstance(self.bank_, Tensor) and isinstance(more, Tensor):
            whole: Features = torch.cat([self.bank_, more])
        else:
            whole = np.concatenate([self.bank_, more])
        return self._keep(whole, np.concatenate([known, labels]))

    def _as_kept(self, features: Features) -> Features:
        """Rows as the bank holds them: rounded to its type, on its device."""
        everything = slice(0, len(features))
        if isinstance(self.bank_, Tensor):
            return take(features, everything, self.bank_.device, self.bank_.dtype)
        rows = take(features, everything, torch.device("cpu"), torch.float64).numpy().astype(self.bank_.dtype)
        check_finite(rows)
        return rows

    def forget(self, X: Any, y: Any = None) -> KNNProbe:
        """Take rows out of (a copy of) the bank again: the inverse of ``partial_fit``, up to the order of equal rows.

        Raises:
            InputError: a row that the bank does not hold with that label; the probe stays as it was.
        """
        check_is_fitted(self)
        features, labels, _ = self._fit_inputs(X, y, reset=False)
        known = self.classes_[self.codes_.cpu().numpy()]
        places: dict[tuple[bytes, Any], list[int]] = {}
        bank, gone = (
            take(rows, slice(0, len(rows)), torch.device("cpu")).numpy()
            for rows in (self.bank_, self._as_kept(features))
        )
        bank, gone = bank + 0.0, gone + 0.0  # -0.0 is 0.0
        for row, (values, label) in enumerate(zip(bank, known.tolist(), strict=True)):
            places.setdefault((values.tobytes(), label), []).append(row)
        kept = np.ones(len(bank), bool)
        for values, label in zip(gone, labels.tolist(), strict=True):
            found = places.get((values.tobytes(), label))
            if not found:
                raise InputError(f"cannot forget a row of class {shown(label)} that was never learned.")
            kept[found.pop()] = False
        if not kept.any():
            raise InputError("KNNProbe cannot forget every row it learned; make a new one.")
        rows = kept.nonzero()[0]
        remaining = self.bank_[torch.from_numpy(rows) if isinstance(self.bank_, Tensor) else rows]
        return self._keep(remaining, known[rows])

    def _keep(self, features: Features, labels: Labels) -> KNNProbe:
        ks, temperatures = self._grid()
        place = device_of(features, self.device)
        self.classes_, codes = class_codes(labels)
        self.bank_, self.codes_ = features, send(torch.from_numpy(codes), place)
        self.choices_ = ()
        self.k_, self.temperature_ = ks[0], temperatures[0]
        if len(ks) * len(temperatures) > 1 and len(features) > 1:
            accuracy = self.leave_one_out(ks, temperatures)
            self.choices_ = tuple(
                KNNChoice(k, t, float(accuracy[i, j])) for i, k in enumerate(ks) for j, t in enumerate(temperatures)
            )
            best = max(self.choices_, key=lambda choice: choice.accuracy)
            self.k_, self.temperature_ = best.k, best.temperature
        if self.metric == "cosine" and _mean_cosine(features, place) > SHARED:
            warnings.warn(
                "kNN: all rows point the same way: they share an offset far larger than their differences, and "
                "cosines hardly tell them apart; subtract their mean, or use metric='euclidean'.",
                ProbeWarning,
                stacklevel=3,
            )
        self._index = None
        self.recall_ = self._faiss().recall(min(self.k_, len(features))) if self.index else None
        return self

    def _faiss(self) -> FaissIndex:
        """The index, built again in a probe that was loaded from a file."""
        from unlabeled.probes.indexes import FaissIndex

        found = getattr(self, "_index", None)
        if found is None:
            assert self.index is not None
            found = self._index = FaissIndex(self.bank_, self.index, metric=self.metric, seed=self.seed)
        return found

    def neighbours(self, X: Any, k: int | None = None) -> Neighbours:
        """The ``k`` nearest bank rows of each row, best first."""
        check_is_fitted(self)
        features = self._inputs(X)
        k = min(k or self.k_, len(self.bank_))
        if self.index:
            return self._faiss().search(features, k)
        find = search_on_ranks if self.on_ranks else search
        return find(self.bank_, features, k, metric=self.metric, device=self._place(features))

    def _place(self, X: Features) -> torch.device:
        return device_of(X if isinstance(X, Tensor) else self.bank_, self.device)

    def predict_proba(self, X: Any) -> Any:
        """Share of the vote of each class, (N, C)."""
        return like(self.scores(X), X)

    def scores(self, X: Any) -> Tensor:
        """Share of the vote of each class, (N, C) float32."""
        found = self.neighbours(X)
        parts = []
        for near in _row_parts(found, len(self.classes_)):
            votes = torch.zeros(len(near.index), len(self.classes_), device=near.index.device)
            codes = self.codes_.to(near.index.device)[near.index]
            votes.scatter_add_(1, codes, self._weights(near.similarity, self.temperature_))
            parts.append(votes / votes.sum(1, keepdim=True))
        return torch.cat(parts)

    def _scores(self, block: Tensor) -> Tensor:
        return self.scores(block)

    def sweep(self, X: Any, ks: Sequence[int], temperatures: Sequence[float]) -> Tensor:
        """Predicted class positions (K, T, N) for every pair of ``ks`` and ``temperatures``, from one search."""
        check_is_fitted(self)
        return self._vote_all(self.neighbours(X, max(ks)), ks, temperatures)

    def leave_one_out(self, ks: Sequence[int], temperatures: Sequence[float]) -> Tensor:
        """Accuracies (K, T) on the bank itself, each row judged by the others."""
        n = len(self.bank_)
        rows = np.arange(n)
        if n > self.max_rows:
            rows = np.sort(numpy_generator(self.seed, "knn leave-one-out").permutation(n)[: self.max_rows])
        place = self._place(self.bank_)
        at = torch.from_numpy(rows)
        queries = self.bank_ if len(rows) == n else self.bank_[at if isinstance(self.bank_, Tensor) else rows]
        k = min(max(ks), n - 1)
        find = search_on_ranks if self.on_ranks else search
        found = find(self.bank_, queries, k, metric=self.metric, device=place, exclude_rows=rows)
        wanted = self.codes_[send(at, self.codes_.device)].to(place)
        return (self._vote_all(found, ks, temperatures) == wanted).float().mean(2)

    def _vote_all(self, found: Neighbours, ks: Sequence[int], temperatures: Sequence[float]) -> Tensor:
        """Votes grow with k: neighbours are added segment by segment, an argmax after each."""
        m, most = found.index.shape
        order = sorted(range(len(ks)), key=lambda i: ks[i])
        result = torch.empty(len(ks), len(temperatures), m, dtype=torch.int64, device=found.index.device)
        start = 0
        for near in _row_parts(found, len(self.classes_)):
            part = slice(start, start + len(near.index))
            start = part.stop
            codes = self.codes_.to(near.index.device)[near.index]
            for t, temperature in enumerate(temperatures):
                weight = self._weights(near.similarity, temperature)
                votes = torch.zeros(len(codes), len(self.classes_), device=codes.device)
                taken = 0
                for i in order:
                    k = min(ks[i], most)
                    votes.scatter_add_(1, codes[:, taken:k], weight[:, taken:k])
                    taken = k
                    result[i, t, part] = votes.argmax(1)
        return result

    def _weights(self, similarity: Tensor, temperature: float) -> Tensor:
        if self.weights == "uniform":
            return similarity.isfinite().to(similarity.dtype)  # an index may find fewer than k: the rest is -inf
        # Relative to the best neighbour: the vote is the same and a small temperature cannot overflow.
        return ((similarity - similarity[:, :1]) / temperature).exp_()

    def _grid(self) -> tuple[list[int], list[float]]:
        ks = [int(k) for k in np.atleast_1d(np.asarray(self.k))]
        temperatures = [float(t) for t in np.atleast_1d(np.asarray(self.temperature))]
        if not ks or min(ks) < 1:
            raise InputError(f"KNNProbe: k must be at least 1, not {self.k!r}.")
        if not temperatures or min(temperatures) <= 0:
            raise InputError(f"KNNProbe: temperature must be above 0, not {self.temperature!r}.")
        for name, allowed in (("weights", ("softmax", "uniform")), ("metric", ("cosine", "euclidean"))):
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"KNNProbe: {name} cannot be {value!r}.{nearest(str(value), allowed)}")
        return ks, temperatures


def _mean_cosine(features: Features, place: torch.device) -> float:
    """Of all pairs of rows: the square of the mean of the rows at unit length."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=place)
    for _, block in blocks(features, place):
        total += F.normalize(block, dim=1).sum(0, dtype=torch.float64)
    return float((total / len(features)).square().sum()) if len(features) > 1 else 0.0


def _row_parts(found: Neighbours, classes: int) -> list[Neighbours]:
    rows = max(1, VOTES // classes)
    parts = [slice(start, start + rows) for start in range(0, len(found.index), rows)]
    return [Neighbours(found.similarity[part], found.index[part]) for part in parts]


def knn_reading(features: Any, labels: Any, *, k: int = 20, temperature: float = 0.07, seed: int = 0) -> float:
    """Leave-one-out accuracy of the weighted vote on the features themselves: a quick reading during training.

    At most 10,000 rows are judged, by all others.
    """
    probe = KNNProbe(k=k, temperature=temperature, seed=seed).fit(features, labels)
    if len(probe.bank_) < 2:
        raise InputError("a leave-one-out reading needs at least two rows.")
    return float(probe.leave_one_out([k], [temperature])[0, 0])
