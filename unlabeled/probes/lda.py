"""Linear discriminant analysis with shrinkage, and the Mahalanobis classifier: class means and a covariance."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError
from unlabeled.probes.base import SoftmaxProbe
from unlabeled.probes.closed_form import ClosedFormProbe
from unlabeled.probes.statistics import Statistics

Shrinkage = float | Literal["oas"]


FLOOR = 1e-9  # of the total variance, added to every direction


def shrunk_covariance(scatter: Tensor, n: float, shrinkage: Shrinkage, floor: float = 0.0) -> Tensor:
    """(1 - s) S + (s tr(S)/D + floor) I with S = scatter / n.

    ``"oas"`` takes s from S itself: Chen et al. 2010, Eq. 23, as in scikit-learn's ``OAS``,
    s = min(1, (α + μ²) / ((n + 1)(α - μ²/D))) with μ = tr(S)/D and α = mean of S's squared entries. Unlike
    Ledoit-Wolf's it needs no fourth moments, so that it can be streamed and forgotten exactly.
    """
    covariance = scatter / n
    dim = len(covariance)
    mu = covariance.trace() / dim
    if shrinkage == "oas":
        alpha = covariance.square().mean()
        denominator = (n + 1) * (alpha - mu.square() / dim)
        amount = 1.0 if dim == 1 or denominator <= 0 else min(1.0, float((alpha + mu.square()) / denominator))
    else:
        amount = float(shrinkage)
    covariance = covariance * (1 - amount)
    covariance.diagonal().add_(amount * mu + floor)
    return covariance


def _floor(sums: Statistics) -> float:
    """What keeps a covariance invertible: with one row a class, the probes become the nearest class mean."""
    return FLOOR * float(sums.around_mean().trace()) / (sums.n * sums.dim)


def solve_psd(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix⁻¹ right for a covariance; directions without any variance are left out (minimum-norm solution)."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed and float(factor.diagonal().min()) > 1e-7 * float(factor.diagonal().max()):
        return torch.cholesky_solve(right, factor)
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    inverse = torch.where(kept, values.reciprocal(), 0)
    solution: Tensor = vectors @ (inverse.unsqueeze(1) * (vectors.T @ right))
    return solution


def check_shrinkage(value: Any, name: str) -> None:
    """Refuse what is neither ``"oas"`` nor a number in [0, 1]."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value != "oas" and not (number and 0 <= value <= 1):
        raise InputError(f"{name}: shrinkage must be 'oas' or a number in [0, 1], not {value!r}.")


class LDAProbe(SoftmaxProbe, ClosedFormProbe):
    """Linear discriminant analysis: Gaussian classes of one shared covariance Σ, solved from (n, Σx, Σxxᵀ).

    The score of class c is ``xᵀΣ⁻¹μ_c - ½ μ_cᵀΣ⁻¹μ_c + log π_c`` (Hastie et al., Elements of Statistical Learning,
    Eq. 4.10), π_c = n_c/n, as scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s)``; also the head
    of First Session Adaptation (Panos et al. 2023).

    Args:
        shrinkage: towards a multiple of the identity, 0..1, or ``"oas"``: chosen by formula.
        priors: ``"empirical"`` class frequencies or ``"uniform"``.
        device: where to compute; default: where the features lie.
    """

    title = "LDA"

    def __init__(
        self,
        shrinkage: Shrinkage = "oas",
        priors: Literal["empirical", "uniform"] = "empirical",
        device: str | None = None,
    ) -> None:
        self.shrinkage = shrinkage
        self.priors = priors
        self.device = device

    def _solve(self) -> tuple[Tensor, Tensor, Tensor]:
        sums = self.statistics_
        covariance = shrunk_covariance(sums.within(), sums.n, self.shrinkage, _floor(sums))
        # Around the mean of all rows: an offset that all classes share would only cost digits.
        centre = sums.mean
        means = sums.apart()
        weight = solve_psd(covariance, means.T).T
        offset = -0.5 * (means * weight).sum(1)
        if self.priors == "empirical":
            offset = offset + (sums.count.double() / sums.n).log()
        return weight, offset, centre

    def _checks(self) -> dict[str, Any]:
        check_shrinkage(self.shrinkage, "LDAProbe")
        return {"priors": ("empirical", "uniform")}


class MahalanobisProbe(ClosedFormProbe):
    """Nearest class mean under Mahalanobis distance: score ``-(x - μ_c)ᵀ Σ⁻¹ (x - μ_c)``.

    ``"tied"``: one covariance for all classes (Lee et al. 2018, Sec. 2.1); the scores measure how far a row is from
    each class, and their maximum how far it is from all of them (out-of-distribution score).
    ``"class"``: a covariance for each class, shrunk and scaled to unit diagonal (FeCAM, Goswami et al. 2023, Eqs. 6-8);
    needs C·D² numbers.

    Args:
        covariance: ``"tied"`` or ``"class"``.
        shrinkage: 0..1 or ``"oas"``, see :class:`LDAProbe`.
        device: where to compute; default: where the features lie.
    """

    title = "Mahalanobis"

    def __init__(
        self,
        covariance: Literal["tied", "class"] = "tied",
        shrinkage: Shrinkage = "oas",
        device: str | None = None,
    ) -> None:
        self.covariance = covariance
        self.shrinkage = shrinkage
        self.device = device

    def linear(self) -> tuple[Tensor, Tensor]:
        raise InputError("MahalanobisProbe: its distances are no linear function; use LDAProbe.")

    def _per_class(self) -> bool:
        return self.covariance == "class"

    def _checks(self) -> dict[str, Any]:
        check_shrinkage(self.shrinkage, "MahalanobisProbe")
        return {"covariance": ("tied", "class")}

    def _solve(self) -> tuple[Tensor, Tensor]:
        """Whitening maps (1 or C, D, D), W = L⁻¹ with Σ = L Lᵀ, and the class means."""
        sums = self.statistics_
        if self.covariance == "tied":
            maps = _whitening(shrunk_covariance(sums.within(), sums.n, self.shrinkage, _floor(sums))).unsqueeze(0)
            return maps, sums.means
        floor = _floor(sums)
        maps = torch.stack(
            [
                _whitening(_correlation(shrunk_covariance(sums.within_class(c), float(n), self.shrinkage, floor)))
                for c, n in enumerate(sums.count.tolist())
            ]
        )
        return maps, sums.means

    def _scores(self, block: Tensor) -> Tensor:
        maps, means = self._solution()
        # In float64: distances are small differences of large numbers.
        block = block.double()
        if len(maps) == 1:
            centre = means.mean(0)
            return -torch.cdist((block - centre) @ maps[0].T, (means - centre) @ maps[0].T).square()
        distances = [((block - mean) @ whiten.T).square().sum(1) for whiten, mean in zip(maps, means, strict=True)]
        return -torch.stack(distances, dim=1)


def _whitening(covariance: Tensor) -> Tensor:
    """(D, D) W with WᵀW = Σ⁺: ‖W(x - μ)‖² is the Mahalanobis distance."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    whiten: Tensor = torch.where(kept, values.rsqrt(), 0).unsqueeze(1) * vectors.T
    return whiten


def _correlation(covariance: Tensor) -> Tensor:
    """Scaled to unit diagonal, so that classes of small and large spread compare."""
    scale = covariance.diagonal().sqrt()
    scale = torch.where(scale > math.sqrt(torch.finfo(scale.dtype).tiny), scale, 1)
    return covariance / torch.outer(scale, scale)
