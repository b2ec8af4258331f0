"""The penalised objective of softmax regression, minimised along a path of penalties by preconditioned L-BFGS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.probes.arrays import Features, InputError, Rows, take

MEMORY = 8  # pairs of steps and gradient changes that L-BFGS remembers
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class PathPoint:
    """One penalty: its objective on the rows it was fitted to, and what it reached on the held-out ones.

    Of several folds the means, with the accuracy of each.
    """

    penalty: float
    objective: float
    iterations: int
    accuracy: float = float("nan")
    loss: float = float("nan")
    folds: tuple[float, ...] = ()


class SoftmaxProblem:
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
        counts = np.bincount(codes[rows], minlength=classes)
        self.share = send(torch.from_numpy(counts).float() / n, place)
        self.target = send(torch.from_numpy(codes[rows]), place)
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
        weight[:, -1] = self.share.log()
        for penalty in penalties:
            weight, objective, iterations = self._minimise(weight, penalty * self.unit, tol, max_iter)
            raw = (weight[:, :-1] @ self.vectors.T) / self.scale
            yield PathPoint(penalty, objective, iterations), raw, weight[:, -1] - raw @ self.mean

    def _evaluate(self, weight: Tensor, penalty: float) -> tuple[float, Tensor, float]:
        """Objective, its gradient (C, D + 1), and the mean of p(1 - p): the scale of the Hessian."""
        gradient = torch.zeros_like(weight)
        n = len(self.target)
        loss, spread = torch.zeros(2, dtype=torch.float64, device=weight.device)
        for start in range(0, n, BLOCK_ROWS):
            block, target = self.rotated[start : start + BLOCK_ROWS], self.target[start : start + BLOCK_ROWS]
            log_p = torch.log_softmax(torch.addmm(weight[:, -1], block, weight[:, :-1].T), dim=1)
            loss = loss - log_p.gather(1, target.unsqueeze(1)).sum(dtype=torch.float64)
            error = log_p.clamp_min_(-60).exp_()  # no denormals: they slow the product tenfold
            spread = spread + (len(error) - error.square().sum(dtype=torch.float64))
            error[torch.arange(len(error), device=error.device), target] -= 1
            gradient[:, :-1].addmm_(error.T, block)
            gradient[:, -1] += error.sum(0)
        gradient /= n
        gradient[:, :-1].add_(weight[:, :-1], alpha=penalty)
        length = weight[:, :-1].square().sum(dtype=torch.float64)
        total, apart, length_ = torch.stack([loss, spread, length]).tolist()  # what the host decides by, read at once
        return total / n + 0.5 * penalty * length_, gradient, apart / (n * self.classes)

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
