"""How well known and unknown rows are told apart, and what a classifier gains by refusing to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from unlabeled.probes.arrays import InputError

Shares = np.ndarray[Any, np.dtype[np.float64]]


def _numbers(values: Any, name: str) -> Shares:
    numbers = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"{name} must be (N,) finite numbers with N >= 1, not of shape {numbers.shape}.")
    return numbers


def separation(known: Any, unknown: Any) -> dict[str, float]:
    """How well a detector's scores tell known rows (larger scores) from unknown ones.

    Returns:
        ``auroc``: chance that a known row scores above an unknown one, ties half; 0.5 is guessing.
        ``fpr95``: share of the unknown rows let in by the highest threshold that lets in 95 % of the known ones.

    >>> separation([3.0, 2.0], [1.0, 0.0])
    {'auroc': 1.0, 'fpr95': 0.0}
    """
    inside, outside = _numbers(known, "known scores"), _numbers(unknown, "unknown scores")
    truth = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    scores = np.concatenate([inside, outside])
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    return {"auroc": float(roc_auc_score(truth, scores)), "fpr95": float(false[np.argmax(true >= 0.95)])}


@dataclass(frozen=True)
class RejectionCurve:
    """Open-set recognition over all thresholds (Dhamija et al. 2018, Sec. 4.2).

    Attributes:
        accepted: (M,) share of the unknown rows that are not refused, rising from 0 to 1.
        right: (M,) share of the known rows that are not refused and answered correctly.
        area: under ``right`` over ``accepted``: the OSCR. Without unknowns to refuse it would be the accuracy.
    """

    accepted: Shares
    right: Shares
    area: float


def rejection_curve(known: Any, correct: Any, unknown: Any) -> RejectionCurve:
    """The curve of a classifier that refuses rows with scores below a threshold.

    Args:
        known: (N,) scores of rows of known classes; larger is more familiar.
        correct: (N,) whether the classifier answers them correctly.
        unknown: (M,) scores of rows of classes that were never shown.

    >>> rejection_curve([3.0, 2.0], [True, False], [1.0]).area
    0.5
    """
    inside, outside = _numbers(known, "known scores"), _numbers(unknown, "unknown scores")
    hits = np.asarray(correct, dtype=bool)
    if hits.shape != inside.shape:
        raise InputError(f"{len(inside)} known scores need as many answers, not {hits.shape}.")
    thresholds = np.r_[np.inf, np.unique(np.concatenate([inside, outside]))[::-1]]
    right_scores = np.sort(inside[hits])
    right = (len(right_scores) - np.searchsorted(right_scores, thresholds, side="left")) / len(inside)
    accepted = (len(outside) - np.searchsorted(np.sort(outside), thresholds, side="left")) / len(outside)
    return RejectionCurve(accepted, right, float(np.trapezoid(right, accepted)))
