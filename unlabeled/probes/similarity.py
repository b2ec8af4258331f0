"""How alike two representations of the same images are: linear CKA, plain and unbiased, and common neighbours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError, all_rows, as_features, device_of
from unlabeled.probes.search import search


def linear_cka(X: Any, Y: Any) -> float:
    """‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) of centred features of the same rows (Kornblith et al. 2019, Eq. 4), in [0, 1].

    Unchanged by rotations and scalings of either space; their dimensions may differ.

    >>> round(linear_cka([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[0.0, 2.0], [-2.0, 0.0], [-2.0, 2.0]]), 6)
    1.0
    """
    first, second = all_rows(X, torch.float64), all_rows(Y, torch.float64)
    if len(first) != len(second):
        raise InputError(f"linear_cka compares the same rows: {len(first)} and {len(second)} differ.")
    first, second = first - first.mean(0), (second - second.mean(0)).to(first.device)
    if len(first) < min(first.shape[1], second.shape[1]):  # the N x N form is the smaller one
        left, right = first @ first.T, second @ second.T
        cross = (left * right).sum()
    else:
        left, right = first.T @ first, second.T @ second
        cross = (first.T @ second).square().sum()
    scale = left.norm() * right.norm()
    return float(cross / scale) if scale > 0 else 0.0


def neighbourhood_overlap(X: Any, Y: Any, k: int = 10) -> float:
    """Mean share of the k nearest (cosine) neighbours of a row that both spaces agree on, in [0, 1].

    >>> neighbourhood_overlap(torch.eye(4), torch.eye(4), k=3)
    1.0
    """
    first, second = as_features(X), as_features(Y)
    n = len(first)
    if n != len(second) or n < 2:
        raise InputError(f"neighbourhood_overlap compares the same two or more rows, not {n} and {len(second)}.")
    k = min(k, n - 1)
    rows = torch.arange(n).numpy()
    left, right = (
        search(space, space, k, device=device_of(space, None), exclude_rows=rows).index.cpu()
        for space in (first, second)
    )
    both = torch.cat([left, right], dim=1).sort(1).values  # an index in both lists stands next to itself
    return float((both[:, 1:] == both[:, :-1]).sum() / (n * k))


LEAST_IMAGES = 10
"""Fewer images than these say nothing of how alike two representations are."""


def unbiased_cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA with the unbiased estimate of HSIC (Song et al. 2012, eq. 5; Nguyen et al. 2021, eq. 3).

    The plain estimate calls any two representations of few images alike: independent Gaussian ones of 100 images in
    512 dimensions have a CKA of .83. This one is 0 on average there (and so at times a little below 0), and 1 for
    equal ones.

    Args:
        x, y: ``(N, D)`` and ``(N, E)`` embeddings of the same images.

    Returns:
        At most 1; NaN for fewer than :data:`LEAST_IMAGES` images, and where an embedding has collapsed to a point.
    """
    if len(x) < LEAST_IMAGES:
        return math.nan
    left, right = (z.double() - z.double().mean(0) for z in (x, y))
    own = _hsic(left, left), _hsic(right, right)
    if min(own) <= 0:
        return math.nan
    return _hsic(left, right) / math.sqrt(own[0] * own[1])


def _hsic(x: Tensor, y: Tensor) -> float:
    """HSIC_1 of linear kernels K = xxᵀ, L = yyᵀ without their diagonals; neither is ever formed where N > D."""
    n = len(x)
    squares = x.square().sum(1), y.square().sum(1)
    sums = x @ x.sum(0) - squares[0], y @ y.sum(0) - squares[1]
    whole = (x.T @ y).square().sum() if n > min(x.shape[1], y.shape[1]) else ((x @ x.T) * (y @ y.T)).sum()
    trace = whole - squares[0] @ squares[1]
    total = sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
    return float((trace + total - 2 / (n - 2) * (sums[0] @ sums[1])) / (n * (n - 3)))
