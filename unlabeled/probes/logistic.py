"""Multinomial logistic regression: a warm-started path of penalties by preconditioned L-BFGS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.data.rows import splits_to_choose
from unlabeled.probes.arrays import Features, InputError, Rows, take
from unlabeled.probes.base import SoftmaxProbe, accuracy_in_folds, at_least_two, class_codes, merit
from unlabeled.probes.softmax_path import PathPoint, SoftmaxProblem

LAMBDAS = tuple(float(v) for v in np.logspace(-1, -8, 15))
PATIENCE = 3  # penalties in a row without a lower held-out loss that end the path


class LogisticProbe(SoftmaxProbe):
    """Softmax regression with an L2 penalty: minimises ``mean cross-entropy + λv/2 ‖W‖²`` (biases are free).

    v is the total variance of the rows, so that a λ means the same whatever the features' scale; with
    ``relative=False`` it is 1, and scikit-learn's ``LogisticRegression(C=1/(N·λ))`` has the same solution. The path
    goes from the largest λ down, each solved from the last one's solution. Rows are rotated into the eigenbasis of
    their covariance, where the Hessian is nearly diagonal, and L-BFGS starts from that diagonal: it needs a handful of
    steps where the plain method needs hundreds.

    Args:
        penalty: λ, or several: chosen on a held-out part of the training data, then solved on all of it. Of fewer than
            1,000 rows each is held out once, in five folds, and the mean loss decides.
        standardise: scale each feature to variance 1 first (λ then acts on the scaled features).
        relative: whether λ is in units of the total variance.
        tol: stop when the gradient, in the Hessian's metric, promises less than this decrease of the objective.
        max_iter: L-BFGS steps for each λ.
        held_out: share of 1,000 training rows or more that chooses λ.
        seed: of that split.
        device: where to compute; default: where the features lie.

    Attributes:
        penalty_: the chosen λ.
        at_edge_: whether it is the largest or smallest of several that were offered: a better one may lie beyond.
        path_: a :class:`PathPoint` for every λ tried; the path ends where the held-out loss keeps rising.
        n_iter_: L-BFGS steps of the final fit, over its whole path.
        coef_, intercept_: (C, D) and (C,) float32, on raw features.
    """

    title = "logistic"
    square = True
    records = (PathPoint,)
    penalty_: float
    at_edge_: bool
    path_: tuple[PathPoint, ...]
    n_iter_: int
    coef_: Tensor
    intercept_: Tensor

    def __init__(
        self,
        penalty: float | Sequence[float] = LAMBDAS,
        standardise: bool = False,
        relative: bool = True,
        tol: float = 1e-5,
        max_iter: int = 200,
        held_out: float = 0.2,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.penalty = penalty
        self.standardise = standardise
        self.relative = relative
        self.tol = tol
        self.max_iter = max_iter
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any = None) -> LogisticProbe:
        """Choose λ on a held-out part of (N, D) features with (N,) labels, then solve for it on all rows.

        Raises:
            InputError: features or labels that cannot be used, fewer than two classes, or a bad parameter.
        """
        penalties = self._penalties()
        features, labels, place = self._fit_inputs(X, y)
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "LogisticProbe")
        splits = splits_to_choose(codes, self.held_out, self.seed, "logistic") if len(penalties) > 1 else []
        if splits:
            points = []
            rising = 0
            # all folds walk abreast, for it is their mean loss that ends the path
            for folds in zip(*(self._judged(features, codes, *s, penalties, place) for s in splits), strict=True):
                points.append(_joined(folds))
                rising = rising + 1 if points[-1].loss > min(p.loss for p in points) else 0
                if rising == PATIENCE:  # smaller penalties only fit the training rows more closely
                    break
            best = max(points, key=lambda point: merit(point, len(splits)))
            # The way to the chosen λ is walked again on all rows, in bigger steps: the end is what counts.
            walk = [v for v in penalties[::4] if v > best.penalty] + [best.penalty]
        else:
            points, walk = [], penalties
        solved = list(self._problem(features, codes, np.arange(len(codes)), place).walk(walk, self.tol, self.max_iter))
        final, self.coef_, self.intercept_ = solved[-1]
        self.path_ = tuple(points or [point for point, _, _ in solved])
        self.penalty_ = final.penalty
        self.at_edge_ = len(penalties) > 1 and final.penalty in (penalties[0], penalties[-1])
        self.n_iter_ = sum(point.iterations for point, _, _ in solved)
        return self

    def chosen(self) -> dict[str, Any]:
        edge = {"at the edge of the list": True} if self.at_edge_ else {}
        best = next(point for point in self.path_ if point.penalty == self.penalty_)
        return {"penalty": self.penalty_} | edge | accuracy_in_folds(best.folds)

    def path(self, X: Any, y: Any) -> list[tuple[PathPoint, Tensor, Tensor]]:
        """Solve every λ on all rows: points with weights (C, D) and biases (C,), from the largest λ down."""
        penalties = self._penalties()
        features, labels, place = self._fit_inputs(X, y)
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "LogisticProbe")
        problem = self._problem(features, codes, np.arange(len(codes)), place)
        return list(problem.walk(penalties, self.tol, self.max_iter))

    def _judged(
        self, X: Features, codes: Rows, kept: Rows, held: Rows, penalties: list[float], place: torch.device
    ) -> Iterator[PathPoint]:
        """Solve one λ after the other on the kept rows, each measured on the held-out ones."""
        block, target = take(X, held, place), send(torch.from_numpy(codes[held]), place)
        for point, weight, bias in self._problem(X, codes, kept, place).walk(penalties, self.tol, self.max_iter):
            logits = F.linear(block, weight, bias)
            accuracy = float((logits.argmax(1) == target).double().mean())
            yield replace(point, accuracy=accuracy, loss=float(F.cross_entropy(logits, target)))

    def _problem(self, X: Features, codes: Rows, rows: Rows, place: torch.device) -> SoftmaxProblem:
        return SoftmaxProblem(X, codes, rows, len(self.classes_), self.standardise, self.relative, place)

    def _scores(self, block: Tensor) -> Tensor:
        return F.linear(block, self.coef_.to(block), self.intercept_.to(block))

    def _penalties(self) -> list[float]:
        penalties = np.atleast_1d(np.asarray(self.penalty, dtype=float))
        if not len(penalties) or not (penalties >= 0).all():
            raise InputError(f"LogisticProbe: penalty must be 0 or more, not {self.penalty!r}.")
        if not 0 < self.held_out < 1:
            raise InputError(f"LogisticProbe: held_out must lie between 0 and 1, not {self.held_out!r}.")
        return sorted((float(v) for v in penalties), reverse=True)


def _joined(folds: Sequence[PathPoint]) -> PathPoint:
    """One penalty over all folds, which are of one size, to a row."""

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(folds)

    return PathPoint(
        folds[0].penalty,
        mean(point.objective for point in folds),
        sum(point.iterations for point in folds),
        mean(point.accuracy for point in folds),
        mean(point.loss for point in folds),
        tuple(point.accuracy for point in folds),
    )
