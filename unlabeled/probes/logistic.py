"""Multinomial logistic regression: a warm-started path of penalties by preconditioned L-BFGS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.data.rows import held_out
from unlabeled.probes.arrays import Features, InputError, Rows, take
from unlabeled.probes.base import SoftmaxProbe, at_least_two, class_codes

LAMBDAS = tuple(float(v) for v in np.logspace(-1, -8, 15))
MEMORY = 8  # pairs of steps and gradient changes that L-BFGS remembers
BLOCK_ROWS = 4096
PATIENCE = 3  # penalties in a row without a lower held-out loss that end the path


@dataclass(frozen=True)
class PathPoint:
    """One penalty: its objective on the rows it was fitted to, and what it reached on the held-out ones."""

    penalty: float
    objective: float
    iterations: int
    accuracy: float = float("nan")
    loss: float = float("nan")


class LogisticProbe(SoftmaxProbe):
    """Softmax regression with an L2 penalty: minimises ``mean cross-entropy + λv/2 ‖W‖²`` (biases are free).

    v is the total variance of the rows, so that a λ means the same whatever the features' scale; with
    ``relative=False`` it is 1, and scikit-learn's ``LogisticRegression(C=1/(N·λ))`` has the same solution. The path
    goes from the largest λ down, each solved from the last one's solution. Rows are rotated into the eigenbasis of
    their covariance, where the Hessian is nearly diagonal, and L-BFGS starts from that diagonal: it needs a handful of
    steps where the plain method needs hundreds.

    Args:
        penalty: λ, or several: chosen on a held-out part of the training data, then solved on all of it.
        standardise: scale each feature to variance 1 first (λ then acts on the scaled features).
        relative: whether λ is in units of the total variance.
        tol: stop when the gradient, in the Hessian's metric, promises less than this decrease of the objective.
        max_iter: L-BFGS steps for each λ.
        held_out: share of the training rows that chooses λ.
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
        held = np.empty(0, dtype=np.int64)
        if len(penalties) > 1:
            kept, held = held_out(codes, self.held_out, self.seed, "logistic")
        if len(held):
            problem = self._problem(features, codes, kept, place)
            block, target = take(features, held, place), torch.from_numpy(codes[held]).to(place)
            points = []
            rising = 0
            for point, weight, bias in problem.walk(penalties, self.tol, self.max_iter):
                logits = F.linear(block, weight, bias)
                accuracy = float((logits.argmax(1) == target).double().mean())
                loss = float(F.cross_entropy(logits, target))
                points.append(PathPoint(point.penalty, point.objective, point.iterations, accuracy, loss))
                rising = rising + 1 if loss > min(p.loss for p in points) else 0
                if rising == PATIENCE:  # smaller penalties only fit the training rows more closely
                    break
            best = max(points, key=lambda point: (point.accuracy, -point.loss))
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
        return {"penalty": self.penalty_} | ({"at the edge of the list": True} if self.at_edge_ else {})

    def path(self, X: Any, y: Any) -> list[tuple[PathPoint, Tensor, Tensor]]:
        """Solve every λ on all rows: points with weights (C, D) and biases (C,), from the largest λ down."""
        penalties = self._penalties()
        features, labels, place = self._fit_inputs(X, y)
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "LogisticProbe")
        problem = self._problem(features, codes, np.arange(len(codes)), place)
        return list(problem.walk(penalties, self.tol, self.max_iter))

    def _problem(self, X: Features, codes: Rows, rows: Rows, place: torch.device) -> _Problem:
        return _Problem(X, codes, rows, len(self.classes_), self.standardise, self.relative, place)

    def _scores(self, block: Tensor) -> Tensor:
        return F.linear(block, self.coef_.to(block), self.intercept_.to(block))

    def _penalties(self) -> list[float]:
        penalties = np.atleast_1d(np.asarray(self.penalty, dtype=float))
        if not len(penalties) or not (penalties >= 0).all():
            raise InputError(f"LogisticProbe: penalty must be 0 or more, not {self.penalty!r}.")
        if not 0 < self.held_out < 1:
            raise InputError(f"LogisticProbe: held_out must lie between 0 and 1, not {self.held_out!r}.")
        return sorted((float(v) for v in penalties), reverse=True)


class _Problem:
    """The objective over some rows, in rotated coordinates: ``z = Vᵀ((x - x̄) / scale)`` with V the eigenvectors."""

    def __init__(
        self,
        X: Features,
        codes: Rows,
        rows: Rows,
        classes: int,
        standardise: bool,
        relative: bool,
        place: torch.device,
    ) -> None:
        n, dim = len(rows), X.shape[1]
        self.classes = classes
        self.target = torch.from_numpy(codes[rows]).to(place)
        self.rotated = torch.empty(n, dim, device=place)
        for start in range(0, n, BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            self.rotated[part] = take(X, rows[part], place)
        self.mean = self.rotated.mean(0, dtype=torch.float64).float()
        self.rotated -= self.mean
        variance = self.rotated.square().mean(0, dtype=torch.float64)
        if standardise:
            # columns without any variance stay as they are, columns with little of it are scaled like others
            self.scale = torch.where(variance > 0, variance.sqrt(), 1).float()
        elif relative and float(variance.sum()) > 0:
            # to a total variance of 1: all that follows sees the same numbers, whatever the scale
            self.scale = variance.sum().sqrt().float().expand_as(self.mean)
        else:
            self.scale = torch.ones_like(self.mean)
        self.rotated /= self.scale
        # of standardised features the total variance is their number
        self.unit = float((variance > 0).sum()) if standardise and relative else 1.0
        scatter = (self.rotated.T @ self.rotated).double() / n
        if not torch.isfinite(scatter).all():
            raise InputError("LogisticProbe: the squares of these features exceed float32; scale the features first.")
        values, vectors = torch.linalg.eigh(scatter)
        self.vectors = vectors.float()
        for start in range(0, n, BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            self.rotated[part] = self.rotated[part] @ self.vectors
        self.curvature = values.clamp_min(0).float()

    def walk(self, penalties: Sequence[float], tol: float, max_iter: int) -> Iterator[tuple[PathPoint, Tensor, Tensor]]:
        """Solve from the first penalty to the last, each from the one before: weights and biases on raw features."""
        weight = torch.zeros(self.classes, self.rotated.shape[1] + 1, device=self.rotated.device)
        weight[:, -1] = (torch.bincount(self.target, minlength=self.classes).float() / len(self.target)).log()
        for penalty in penalties:
            weight, objective, iterations = self._minimise(weight, penalty * self.unit, tol, max_iter)
            raw = (weight[:, :-1] @ self.vectors.T) / self.scale
            yield PathPoint(penalty, objective, iterations), raw, weight[:, -1] - raw @ self.mean

    def _evaluate(self, weight: Tensor, penalty: float) -> tuple[float, Tensor, float]:
        """Objective, its gradient (C, D + 1), and the mean of p(1 - p): the scale of the Hessian."""
        gradient = torch.zeros_like(weight)
        n = len(self.target)
        loss, spread = 0.0, 0.0
        for start in range(0, n, BLOCK_ROWS):
            block, target = self.rotated[start : start + BLOCK_ROWS], self.target[start : start + BLOCK_ROWS]
            log_p = torch.log_softmax(torch.addmm(weight[:, -1], block, weight[:, :-1].T), dim=1)
            loss -= float(log_p.gather(1, target.unsqueeze(1)).sum(dtype=torch.float64))
            error = log_p.clamp_min_(-60).exp_()  # no denormals: they slow the product tenfold
            spread += float(len(error) - error.square().sum(dtype=torch.float64))
            error[torch.arange(len(error), device=error.device), target] -= 1
            gradient[:, :-1].addmm_(error.T, block)
            gradient[:, -1] += error.sum(0)
        gradient /= n
        gradient[:, :-1].add_(weight[:, :-1], alpha=penalty)
        objective = loss / n + 0.5 * penalty * float(weight[:, :-1].square().sum(dtype=torch.float64))
        return objective, gradient, spread / (n * self.classes)

    def _minimise(self, weight: Tensor, penalty: float, tol: float, max_iter: int) -> tuple[Tensor, float, int]:
        objective, gradient, spread = self._evaluate(weight, penalty)
        steps: list[Tensor] = []
        changes: list[Tensor] = []
        iteration = 0
        while iteration < max_iter:
            # E[x xᵀ p(1-p)] ≈ E[p(1-p)] Cov(x): diagonal here; the bias sees a curvature of 1.
            diagonal = torch.cat([self.curvature, self.curvature.new_ones(1)]) * spread + penalty + 1e-8
            direction = -_two_loops(gradient, steps, changes, diagonal)
            slope = float((direction * gradient).sum(dtype=torch.float64))
            if slope >= 0 or -slope < tol * max(objective, 1e-12):
                break
            iteration += 1
            found = self._line_search(weight, objective, direction, slope, penalty)
            if found is None:  # float32 has no better point along this direction
                if not steps:
                    break
                steps.clear()
                changes.clear()
                continue
            length, objective, new_gradient, spread = found
            step, change = direction * length, new_gradient - gradient
            if float((step * change).sum()) > 1e-10 * float(change.square().sum().sqrt() * step.square().sum().sqrt()):
                steps.append(step)
                changes.append(change)
                del steps[:-MEMORY], changes[:-MEMORY]
            weight, gradient = weight + step, new_gradient
        return weight, objective, iteration

    def _line_search(
        self, weight: Tensor, objective: float, direction: Tensor, slope: float, penalty: float
    ) -> tuple[float, float, Tensor, float] | None:
        """Backtrack from 1 by quadratic interpolation until the objective falls enough (Armijo)."""
        length = 1.0
        for _ in range(12):
            reached, gradient, spread = self._evaluate(weight + length * direction, penalty)
            if reached <= objective + 1e-4 * length * slope:
                return length, reached, gradient, spread
            curved = 2 * (reached - objective - length * slope)
            length = min(max(-slope * length**2 / curved if curved > 0 else 0.0, 0.1 * length), 0.5 * length)
        return None


def _two_loops(gradient: Tensor, steps: list[Tensor], changes: list[Tensor], diagonal: Tensor) -> Tensor:
    """The L-BFGS product H·g (Nocedal & Wright, Algorithm 7.4) with H₀ = 1/diagonal, scaled to the last step."""
    q = gradient.clone()
    pairs = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        rho = 1 / float((step * change).sum())
        alpha = rho * float((step * q).sum())
        q -= alpha * change
        pairs.append((step, change, rho, alpha))
    q /= diagonal
    # the square of a tiny change can be 0: then the diagonal is left as it is
    if steps and (curved := float((changes[-1].square() / diagonal).sum())) > 0:
        q *= float((steps[-1] * changes[-1]).sum()) / curved
    for step, change, rho, alpha in reversed(pairs):
        q += (alpha - rho * float((change * q).sum())) * step
    return q
