"""Ridge regression on class indicators: all regularisation strengths from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError
from unlabeled.probes.closed_form import ClosedFormProbe

ALPHAS = tuple(float(a) for a in np.logspace(-6, 4, 20))


@dataclass(frozen=True)
class RidgePath:
    """Solutions for every strength, in the eigenbasis of the centred scatter Σ_i (x_i - x̄)(x_i - x̄)ᵀ = V diag(e) Vᵀ.

    Attributes:
        values, vectors: e (D,) and V (D, D).
        cross: (D, C) Vᵀ Σ_i (x_i - x̄)(t_i - t̄)ᵀ.
        error: for each strength the generalised cross-validation error.
        alphas: the strengths, times the mean eigenvalue.
    """

    values: Tensor
    vectors: Tensor
    cross: Tensor
    error: Tensor
    alphas: Tensor


class RidgeProbe(ClosedFormProbe):
    """Ridge regression of ±1 class indicators with an intercept (scikit-learn's ``RidgeClassifier``).

    ``W = (Σ x̃x̃ᵀ + αI)⁻¹ Σ x̃t̃ᵀ`` over centred rows, all α from one eigendecomposition of Σ x̃x̃ᵀ. It is a sum over
    samples, so learning classes one after another gives the joint solution exactly (G-ACIL, Zhuang et al. 2024), and
    forgetting is exact. Given several α, the one with the least generalised cross-validation error
    (Golub, Heath & Wahba 1979) is chosen, from the same sums.

    Args:
        alpha: penalty, or several to choose from.
        relative: multiply α by the mean eigenvalue of Σ x̃x̃ᵀ, so that a grid means the same for all features.
            False: scikit-learn's absolute α.
        device: where to compute; default: where the features lie.
    """

    title = "ridge"

    def __init__(
        self, alpha: float | Sequence[float] = ALPHAS, relative: bool = True, device: str | None = None
    ) -> None:
        self.alpha = alpha
        self.relative = relative
        self.device = device

    @property
    def alpha_(self) -> float:
        """The chosen penalty, in the units of the scatter matrix."""
        path = self.path()
        return float(path.alphas[int(path.error.argmin())])

    def chosen(self) -> dict[str, Any]:
        return {"alpha": self.alpha_}

    def path(self) -> RidgePath:
        """What all strengths share, from the present sums."""
        found: RidgePath = self._solution()[3]
        return found

    def weights(self, alpha: float) -> tuple[Tensor, Tensor]:
        """Weights (C, D) and intercepts (C,) in float64 for one absolute penalty, on raw features."""
        weight, offset, centre = self._weights(self.path(), alpha)
        return weight, offset - weight @ centre

    def _weights(self, path: RidgePath, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
        sums = self.statistics_
        weight = (path.vectors @ (_inverse(path.values, alpha).unsqueeze(1) * path.cross)).T
        return weight, 2 * sums.count.double() / sums.n - 1, sums.mean

    def _checks(self) -> dict[str, Any]:
        alphas = np.atleast_1d(np.asarray(self.alpha, dtype=float))
        if not len(alphas) or not (alphas >= 0).all():
            raise InputError(f"RidgeProbe: alpha must be 0 or more, not {self.alpha!r}.")
        return {}

    def _solve(self) -> tuple[Tensor, Tensor, Tensor, RidgePath]:
        sums = self.statistics_
        n = sums.n
        values, vectors = torch.linalg.eigh(sums.around_mean())
        values = values.clamp_min(0)
        count = sums.count.double()
        # t is 2·indicator - 1, so Σ x̃t̃ᵀ = 2 n_c (μ_c - x̄) and Σ t̃² = 4 n_c (1 - n_c/n).
        cross = vectors.T @ (2 * count.unsqueeze(1) * sums.apart()).T
        energy = (4 * count * (1 - count / n)).sum()
        # D numbers of each kind decide: on the host, in one go
        spread, power, energy = values.cpu(), cross.square().sum(1).cpu(), energy.cpu()
        mean, real = spread.mean(), _real(spread)
        spread, power = spread[real], power[real]
        alphas = torch.as_tensor(np.atleast_1d(np.asarray(self.alpha, dtype=float)))
        if self.relative:
            alphas = alphas * mean.clamp_min(torch.finfo(torch.float64).tiny)
        # Residual and degrees of freedom less those of α = 0, which cancel in a sum over directions: no digits are lost
        # where the targets can be fitted exactly, and the choice does not hang on rounding.
        least = energy - (power / spread).sum()
        least = torch.where(least > 1e-9 * energy, least, 0)
        errors = []
        for alpha in alphas.tolist():
            shrunk = alpha / (spread + alpha)
            residual = least + (power / spread * shrunk.square()).sum()
            left = ((n - 1 - len(spread)) + shrunk.sum()) / n
            # nothing left to fit says nothing of new rows: such a strength is never chosen
            errors.append(residual / n / left.square() if left > 0 else torch.full_like(residual, torch.inf))
        path = RidgePath(values, vectors, cross, torch.stack(errors), alphas)
        return *self._weights(path, float(alphas[int(path.error.argmin())])), path


def _real(values: Tensor) -> Tensor:
    """Which eigenvalues are more than rounding."""
    return values > 1e-12 * values[-1]


def _inverse(values: Tensor, alpha: float) -> Tensor:
    """1 / (e + α), nothing along directions without variance (the minimum-norm solution for α = 0)."""
    return torch.where(_real(values), (values + alpha).reciprocal(), 0)
