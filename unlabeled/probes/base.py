"""What all probes share: scikit-learn's verbs over blockwise scores, on numpy and torch alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import _check_feature_names, check_is_fitted
from torch import Tensor

from unlabeled.probes.arrays import (
    Features,
    InputError,
    Labels,
    Rows,
    as_features,
    as_labels,
    block_rows,
    blocks,
    device_of,
    encode,
    like,
    shown,
)
from unlabeled.probes.features import FeatureBank

if TYPE_CHECKING:
    from typing_extensions import Self  # of the standard library from 3.11 on


class OnFeatures(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What takes features in scikit-learn's manner: it checks them, and remembers how many there are."""

    n_features_in_: int
    device: str | None
    _dtype: ClassVar[torch.dtype] = torch.float32
    """In which rows are read to be scored."""

    def _fit_inputs(self, X: Any, y: Any, *, reset: bool = True) -> tuple[Features, Labels, torch.device]:
        """Check features and labels and remember (or compare) the number of features."""
        if isinstance(X, FeatureBank) and y is None:
            y = X.labels
        features = self._inputs(X, reset=reset)
        return features, as_labels(y, len(features)), device_of(features, self.device)

    def _inputs(self, X: Any, *, reset: bool = False) -> Features:
        features = as_features(X)
        _check_feature_names(self, X, reset=reset)
        if reset:
            self.n_features_in_ = int(features.shape[1])
        elif features.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {features.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return features


class ProbeWarning(UserWarning):
    """What a reader of a probe's figures should know; a report keeps it among its notes."""


class Probe(ClassifierMixin, OnFeatures):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier on frozen features.

    Subclasses set ``classes_`` in ``fit`` and say in :meth:`_scores` how much each class suits a block of rows.
    Numpy in, numpy out; torch in, torch out on the same device (labels that are text always come as numpy).

    Every probe passes all of scikit-learn's ``check_estimator``, without exceptions. ``LinearProbe``, ``LogisticProbe``
    and ``AttentiveProbe`` refuse labels of a single class; the others answer with that class.
    """

    title: ClassVar[str]
    """How it is called in print."""
    column: ClassVar[str] = ""
    """The same where there is little room, if it differs."""
    square: ClassVar[bool] = False
    """Whether it needs sums of D x D numbers."""
    records: ClassVar[tuple[type, ...]] = ()
    """Data classes among what it learns, which a file of it may hold."""
    classes_: Labels

    @classmethod
    def for_suite(cls, seed: int, device: str | None) -> Self:
        """As it is compared with others: with its defaults, its draws by ``seed``, computed on ``device``."""
        probe = cls()
        given = {"seed": seed, "device": device}
        probe.set_params(**{name: value for name, value in given.items() if name in probe.get_params()})
        return probe

    def chosen(self) -> dict[str, Any]:
        """The hyper-parameters that it ended with."""
        parameters: dict[str, Any] = self.get_params()
        return {name: value for name, value in parameters.items() if name != "device"}

    @abstractmethod
    def _scores(self, block: Tensor) -> Tensor:
        """(B, D) features to (B, C) scores, higher is better; rows of -inf never win."""

    def scores(self, X: Any) -> Tensor:
        """Return (N, C) float32 scores, a column for each of ``classes_``, computed block by block."""
        check_is_fitted(self)
        features = self._inputs(X)
        place = device_of(features, self.device)
        # A block is bounded by its scores as well as by its features.
        rows = block_rows(max(features.shape[1], len(self.classes_)))
        with torch.no_grad():
            return torch.cat([self._scores(block).float() for _, block in blocks(features, place, self._dtype, rows)])

    def decision_function(self, X: Any) -> Any:
        """Scores (N, C); for two classes (N,): the second class's score less the first's."""
        scores = self.scores(X)
        return like(scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores, X)

    def predict(self, X: Any) -> Any:
        """The best class of each row, (N,)."""
        return self._decode(self.scores(X).argmax(1), X)

    def _decode(self, best: Tensor, X: Any) -> Any:
        if isinstance(X, Tensor) and self.classes_.dtype.kind in "iufb":
            return torch.as_tensor(self.classes_, device=X.device)[best.to(X.device)]
        return self.classes_[best.cpu().numpy()]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy in [0, 1]. A label never seen in training counts as wrong."""
        if isinstance(X, FeatureBank) and y is None:
            y = X.labels
        predicted = self.scores(X).argmax(1).cpu().numpy()
        right = predicted == encode(as_labels(y, len(predicted)), self.classes_)
        return float(np.average(right, weights=sample_weight))


class StreamingProbe(Probe):
    """A probe that learns further rows and further classes without keeping any row."""

    @abstractmethod
    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> StreamingProbe:
        """Learn more rows; ``classes`` is there for scikit-learn's callers only."""


class SoftmaxProbe(Probe):
    """A probe whose scores are logits."""

    def predict_proba(self, X: Any) -> Any:
        """Softmax of the scores, (N, C)."""
        return like(self.scores(X).softmax(1), X)


def at_least_two(classes: Labels, name: str) -> None:
    """Refuse labels of a single class.

    Raises:
        InputError: fewer than two classes.
    """
    if len(classes) < 2:
        only = "" if not len(classes) else f" (only {shown(classes[0])})"
        raise InputError(f"{name} needs labels of at least two classes, not {len(classes)} class{only}.")


class Judged(Protocol):
    """A setting that was measured on held-out rows."""

    @property
    def accuracy(self) -> float: ...
    @property
    def loss(self) -> float: ...


def merit(setting: Judged, splits: int) -> tuple[float, float]:
    """By which the best setting is chosen: its accuracy, then its loss; over several folds the other way round.

    Folds are for few rows, where two settings differ by a handful of right answers and the loss says more: with it the
    choice hangs far less on the draw of the folds.
    """
    return (setting.accuracy, -setting.loss) if splits == 1 else (-setting.loss, setting.accuracy)


def accuracy_in_folds(folds: Sequence[float]) -> dict[str, Any]:
    """For :meth:`Probe.chosen`: how much the accuracy of what was chosen differs with the rows that judge it."""
    return {"accuracy in folds": [round(share, 3) for share in folds]} if len(folds) > 1 else {}


def class_codes(labels: Labels) -> tuple[Labels, Rows]:
    """Sorted classes and the position of each label among them."""
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise InputError(f"labels must be of one type, e.g. all text or all integers ({error}).") from error
    return classes, codes.astype(np.int64)
