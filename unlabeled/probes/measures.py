"""Measures of a feature space: pure functions of features, mostly without labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import InputError, all_rows, as_labels, block_rows
from unlabeled.probes.base import class_codes
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.statistics import Statistics


def _spectrum(X: Any, *, centre: bool) -> Tensor:
    """Singular values (min(N, D),) in float64, from the smaller Gram matrix."""
    features = all_rows(X, torch.float64)
    if centre:
        features = features - features.mean(0)
    if len(features) > 4 * features.shape[1]:  # a QR factor has the same singular values and only D rows
        features = torch.linalg.qr(features, mode="r").R
    values: Tensor = torch.linalg.svdvals(features)
    return values


def _entropy_rank(weights: Tensor, eps: float) -> float:
    p = weights / weights.sum().clamp_min(1e-300) + eps
    return float(torch.exp(-(p * p.log()).sum()))


def rankme(X: Any, eps: float = 1e-7) -> float:
    """Smooth rank of the features: exp(-Σ p_k log p_k), p_k = σ_k / ‖σ‖₁ + ε (Garrido et al. 2023, Eq. 1).

    1 means that all features lie on one line (collapse), min(N, D) that all directions are used alike.

    >>> round(rankme(torch.eye(8)), 3)
    8.0
    """
    return _entropy_rank(_spectrum(X, centre=False), eps)


def effective_rank(X: Any) -> float:
    """exp of the entropy of the covariance's normalised eigenvalues (Roy & Vetterli 2007, of the centred features).

    >>> round(effective_rank([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 3)
    2.0
    """
    values = _spectrum(X, centre=True).square()
    return _entropy_rank(values[values > 0], 0.0) if bool((values > 0).any()) else 1.0


def alpha_req(X: Any, first: int = 11, last: int = 500) -> float:
    """α-ReQ: how fast the covariance's eigenvalues decay, λ_j ∝ j^-α (Agrawal et al. 2022, Sec. 3).

    The slope of log λ_j over log j by least squares with weights 1/j, as in Stringer et al. 2019, over ranks ``first``
    to ``last`` as far as there are any. Good representations have an α close to 1: larger ones use few directions,
    smaller ones have directions of noise.

    Returns:
        α; NaN with fewer than ``first`` + 1 directions.

    >>> half = torch.diag(torch.arange(1, 41) ** -0.5)
    >>> round(alpha_req(torch.cat([half, -half])), 3)
    1.0
    """
    values = _spectrum(X, centre=True).square()
    values = values[values > 1e-12 * values.max()][first - 1 : last]
    if len(values) < 2:
        return math.nan
    rank = torch.arange(first, first + len(values), dtype=torch.float64, device=values.device)
    x, y, weight = rank.log(), values.log(), 1 / rank
    x = x - (weight * x).sum() / weight.sum()
    return -float((weight * x * y).sum() / (weight * x * x).sum())


def hopkins(X: Any, *, share: float = 0.1, max_rows: int = 2000, seed: int = 0) -> float:
    """Hopkins' statistic: do features form clusters? The part of TransferScore (Yang et al. 2024) without a classifier.

    Σu / (Σu + Σw) with w the distances of drawn rows to the nearest other row, and u those of as many points, drawn
    evenly from the box around the rows, to the nearest row (Banerjee & Dave 2004, Eq. 1 with exponent 1).

    Args:
        X: (N, D) features.
        share: of the rows that are drawn.
        max_rows: read off at most so many rows.
        seed: of all draws.

    Returns:
        0.5 for features spread evenly, up to 1 for clusters.
    """
    features, generator = all_rows(X), numpy_generator(seed, "hopkins")
    rows = torch.from_numpy(generator.permutation(len(features))[:max_rows])
    features = features[rows.to(features.device)]
    count = max(1, round(share * len(features)))
    low, high = features.amin(0), features.amax(0)
    points = torch.from_numpy(generator.random((count, features.shape[1]), dtype=np.float32)).to(features)
    to_points = torch.cdist(low + points * (high - low), features).amin(1).sum()
    apart = torch.cdist(features[:count], features)
    apart[torch.arange(count), torch.arange(count)] = torch.inf
    total = to_points + apart.amin(1).sum()
    return float(to_points / total) if total > 0 else math.nan


def lidar(X: Any, delta: float = 1e-4, eps: float = 1e-7) -> float:
    """LiDAR: RankMe's entropy on the eigenvalues of linear discriminants (Thilak et al. 2023, Eqs. 1-5).

    Each image is a class and its views are the samples: with Σ_b the covariance of the image means and Σ_w that of the
    views around them, the eigenvalues of Σ_w^{-1/2} Σ_b Σ_w^{-1/2}.

    Args:
        X: (N, V, D) features of V >= 2 views of each of N images.
        delta: added to the diagonal of Σ_w.

    >>> views = torch.eye(4).unsqueeze(1).repeat(1, 3, 1)
    >>> round(lidar(views), 2)  # four image means span three directions
    3.0
    """
    views = X.detach() if isinstance(X, Tensor) else torch.as_tensor(X)
    if views.ndim != 3 or views.shape[1] < 2 or views.shape[0] < 2:
        raise InputError(f"lidar needs features (N, V, D) of N, V >= 2, not shape {tuple(views.shape)}.")
    views = all_rows(views.flatten(0, 1), torch.float64).view(views.shape)
    means = views.mean(1)
    between = torch.cov(means.T).view(views.shape[2], views.shape[2])
    around = (views - means.unsqueeze(1)).flatten(0, 1)
    within = around.T @ around / (len(views) * (views.shape[1] - 1))
    within.diagonal().add_(delta)
    values, vectors = torch.linalg.eigh(within)
    whiten = vectors * values.rsqrt()
    spectrum = torch.linalg.eigvalsh(whiten.T @ between @ whiten).clamp_min(0)
    return _entropy_rank(spectrum, eps)


def embedding_std(X: Any) -> float:
    """Mean over dimensions of the standard deviation of l2-normalised features, times √D (SimSiam, Chen & He 2021).

    About 1 for features spread over the sphere, 0 for a collapse to one point.

    >>> embedding_std([[1.0, 0.0], [1.0, 0.0]])
    0.0
    """
    features = F.normalize(all_rows(X), dim=1)
    return float(features.std(0, correction=0).mean() * features.shape[1] ** 0.5)


def alignment(X: Any, Y: Any, alpha: float = 2.0) -> float:
    """Mean ‖x - y‖^α over positive pairs of l2-normalised rows (Wang & Isola 2020, Sec. 4.1); 0 is perfect.

    >>> round(alignment([[1.0, 0.0]], [[0.0, 3.0]]), 6)
    2.0
    """
    first, second = F.normalize(all_rows(X), dim=1), F.normalize(all_rows(Y), dim=1)
    if first.shape != second.shape:
        raise InputError(f"alignment needs pairs: shapes {tuple(first.shape)} and {tuple(second.shape)} differ.")
    return float((first - second).square().sum(1).pow(alpha / 2).mean())


def uniformity(X: Any, t: float = 2.0) -> float:
    """log mean exp(-t ‖x - y‖²) over all pairs of different l2-normalised rows (Wang & Isola 2020, Sec. 4.1).

    0 for a collapse, about -2t for features spread evenly over a sphere of many dimensions.

    >>> round(uniformity([[1.0, 0.0], [-1.0, 0.0]]), 4)
    -8.0
    """
    features = F.normalize(all_rows(X), dim=1)
    n = len(features)
    if n < 2:
        raise InputError("uniformity needs at least two rows.")
    square = features.square().sum(1)  # 1, or 0 of a row of zeros, which has no direction
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for start in range(0, n, block_rows(n)):
        part, at = features[start : start + block_rows(n)], torch.arange(min(block_rows(n), n - start))
        distance = (square[start : start + len(at), None] + square - 2 * part @ features.T).clamp_(min=0)
        distance[at, start + at] = torch.inf  # a row and itself
        total += (-t * distance).exp_().sum(dtype=torch.float64)
    return float((total / (n * (n - 1))).clamp_min(1e-300).log())


def tolerance(X: Any, y: Any) -> float:
    """Mean cosine of pairs of different rows of one class (Wang & Liu 2021, Eq. 8); 1 means classes are points.

    From class sums: Σ_{i≠j in c} x_iᵀx_j = ‖Σ_{i in c} x_i‖² - n_c, in one sweep.

    >>> tolerance([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], [0, 0, 1])
    1.0
    """
    features = F.normalize(all_rows(X, torch.float64), dim=1)
    classes, codes = class_codes(as_labels(y, len(features)))
    at = torch.from_numpy(codes).to(features.device)
    sums = features.new_zeros(len(classes), features.shape[1]).index_add_(0, at, features)
    own = features.new_zeros(len(classes)).index_add_(0, at, features.square().sum(1))
    count = torch.bincount(at, minlength=len(classes)).double()
    pairs = (count * (count - 1)).sum()
    if not pairs:
        raise InputError("tolerance needs a class with at least two rows.")
    return float((sums.square().sum(1) - own).sum() / pairs)


def neural_collapse(X: Any, y: Any) -> dict[str, float]:
    """Neural-collapse statistics of labelled features (Papyan, Han & Donoho 2020, Fig. 2-7).

    Returns:
        ``nc1``: tr(Σ_W Σ_B⁺)/C, variability within classes relative to that between; 0 is full collapse, infinity
            that all class means are the same.
        ``nc2_norms``: coefficient of variation of the lengths of the centred class means; 0: all alike.
        ``nc2_angles``: mean over pairs of |cos(μ_c, μ_d) + 1/(C-1)|; 0: a simplex.
        ``nc4``: share of rows whose class's mean is the nearest one.

    >>> neural_collapse([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], [0, 0, 1, 1])["nc1"]
    0.0
    """
    features = all_rows(X, torch.float64)
    labels = as_labels(y, len(features))
    statistics = Statistics(features.shape[1], device=features.device)
    statistics.add(features, labels)
    count, classes = len(statistics.classes), class_codes(labels)[1]
    if count < 2:
        raise InputError("neural_collapse needs at least two classes.")
    means = statistics.means
    centred = means - means.mean(0)
    between = centred.T @ centred / count
    within = statistics.within() / len(features)
    # class means that differ by rounding alone are the same: then no variability between is left to compare with
    rounding = torch.finfo(torch.float64).eps ** 2 * len(features) * features.square().mean(0).sum()
    apart = float(between.trace()) > float(rounding)
    lengths = centred.norm(dim=1)
    directions = F.normalize(centred, dim=1)
    cosines = (directions @ directions.T)[~torch.eye(count, dtype=torch.bool, device=means.device)]
    nearest = torch.cdist(features, means).argmin(1).cpu()
    return {
        "nc1": abs(float((within * torch.linalg.pinv(between, hermitian=True)).sum() / count)) if apart else math.inf,
        "nc2_norms": float(lengths.std(correction=0) / lengths.mean().clamp_min(1e-300)),
        "nc2_angles": float((cosines + 1 / (count - 1)).abs().mean()),
        "nc4": float((nearest == torch.from_numpy(classes)).double().mean()),
    }


def measure(bank: FeatureBank, *, max_rows: int = 8192, seed: int = 0) -> dict[str, float]:
    """All measures of one bank, by name: ``rankme``, ``effective_rank``, ``embedding_std``, ``uniformity`` and, where
    labels exist, ``tolerance``, ``nc1``, ``nc2_norms``, ``nc2_angles``, ``nc4``.

    Args:
        bank: features, with or without labels.
        max_rows: read off at most so many rows (drawn by ``seed``).
    """
    if len(bank) > max_rows:
        rows = numpy_generator(seed, "measures").permutation(len(bank))[:max_rows]
        rows.sort()
        bank = bank.subset(rows)
    features = bank.features
    found = {
        "rankme": rankme(features),
        "effective_rank": effective_rank(features),
        "embedding_std": embedding_std(features),
        "uniformity": uniformity(features),
    }
    if bank.labels is not None:
        classes, codes = class_codes(as_labels(bank.labels, len(bank)))
        if 1 < len(classes) < len(codes):
            found |= {"tolerance": tolerance(features, bank.labels), **neural_collapse(features, bank.labels)}
    return found
