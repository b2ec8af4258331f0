"""Was this very image trained on? Likelihood-ratio attacks with shadow models, and how far two ensembles answer apart.

Carlini et al., "Membership inference attacks from first principles", S&P 2022 (LiRA); Hayes et al., "Inexact unlearning
needs more careful evaluations to avoid a false sense of privacy", 2024 (U-LiRA); Georgiev et al., "Attribute-to-delete:
machine unlearning via datamodel matching", 2024 (KLOM); Feldman and Zhang, NeurIPS 2020 (memorisation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, betaincinv
from sklearn.metrics import roc_auc_score
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.forgetting.judge.attacks import LEAST_IMAGES, Array, auc_interval

OWN_VARIANCE = 32
"""Models on either side from which on each image has a variance of its own; with fewer all images share one."""
FALSE_POSITIVES = 0.01
SMALLEST = 1e-6
"""Of a standard deviation: shadow models that agree to the last digit are no proof."""


class Gaussians(NamedTuple):
    """``(N,)`` means and standard deviations."""

    mean: Array
    std: Array


@dataclass(frozen=True)
class Leak:
    """What a score of membership gives away: 0.5 and 1 % are chance; both with their 95 % interval.

    ``tpr`` is the share of members found where at most 1 % of the others are taken for members.
    """

    auc: float
    auc_interval: tuple[float, float]
    tpr: float
    tpr_interval: tuple[float, float]


def log_odds(logits: Tensor, labels: Tensor) -> Array:
    """``(N,)`` float64 ``log p_y / (1 - p_y)`` of the labels: the confidence that shadow models spread normally.

    From the logits, ``z_y - logsumexp`` of the others, so that certainty does not end in infinity (Carlini et al.,
    section VI-A). It is KLOM's margin, too.

    >>> import torch
    >>> log_odds(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    array([2.])
    """
    z, y = logits.detach().cpu().double(), labels.cpu()[:, None]
    others = z.scatter(1, y, -math.inf).logsumexp(1)
    return np.asarray((z.gather(1, y)[:, 0] - others).numpy())


def gaussians(values: Array, use: Array) -> Gaussians:
    """Fit a normal to each column of ``values (S, N)``, to the entries that ``use (S, N)`` marks.

    Below :data:`OWN_VARIANCE` entries the variance is that of all columns around their own means.

    Raises:
        UserError: a column has no entry, or none has two.
    """
    count = use.sum(0)
    if count.min(initial=1) < 1 or count.max(initial=0) < 2:
        raise UserError(
            "some images are in the training sets of all shadow models or of none; LiRA needs both kinds (train more "
            "of them, or attack offline)."
        )
    mean = np.where(use, values, 0).sum(0) / count
    squares = np.where(use, values - mean, 0) ** 2
    own = squares.sum(0) / np.maximum(count - 1, 1)
    shared = np.full(len(own), squares.sum() / (count - 1).sum())
    variance = own if count.min() >= OWN_VARIANCE else shared
    return Gaussians(mean, np.maximum(np.sqrt(variance), SMALLEST))


def lira(target: Array, shadows: Array, inside: Array, *, offline: bool = False) -> Array:
    """Evidence that each image was among the target's training images; larger is more.

    Args:
        target: ``(N,)`` :func:`log_odds` of the model under attack.
        shadows: ``(S, N)`` those of the shadow models.
        inside: ``(S, N)`` whether a shadow model was trained on an image.
        offline: use only models that were not trained on the image; needed where there are no others.

    Returns:
        ``(N,)``. Online the log of Algorithm 1's likelihood ratio. Offline the distance above the mean in standard
        deviations, which ranks as equation 4's ``1 - P(Z > target)`` does and never rounds to 1.
    """
    without = gaussians(shadows, ~inside)
    far = (target - without.mean) / without.std
    if offline:
        return np.asarray(far)
    within = gaussians(shadows, inside)
    near = (target - within.mean) / within.std
    return np.asarray((far**2 - near**2) / 2 + np.log(without.std / within.std))


def u_lira(unlearned: Array, never: Array) -> list[tuple[Array, Array]]:
    """LiRA against unlearning: can models that unlearned an image be told from those that never saw it?

    Each model is attacked with the others of its kind, and as many of the other kind: models that unlearned perfectly
    then score as those that never saw the image, on average.

    Args:
        unlearned: ``(U, N)`` :func:`log_odds` of models that were trained on the images and unlearned them.
        never: ``(R, N)`` those of models trained without them.

    Returns:
        One pair of ``(N,)`` scores a round: of the unlearned model and of the other that were left out.

    Raises:
        UserError: fewer than three models on a side.
    """
    count = min(len(unlearned), len(never))
    if count < 3:
        raise UserError(f"U-LiRA needs three unlearned and three retrained models, not {count}.")
    rounds = []
    for out in range(count):
        rest = np.delete(np.arange(count), out)
        shadows = np.concatenate([unlearned[rest], never[rest]])
        inside = np.repeat([True, False], count - 1)[:, None] & np.ones(shadows.shape[1], dtype=bool)
        rounds.append((lira(unlearned[out], shadows, inside), lira(never[out], shadows, inside)))
    return rounds


def klom(unlearned: Array, retrained: Array) -> Array:
    """``(N,)`` KL divergence of margins, retrained from unlearned, in nats, of normals fitted to both.

    The paper bins a hundred models' margins; a few models allow a normal only, with the variance that all images share.
    Their noise alone gives about ``(1/U + 1/R) / 2``.

    Args:
        unlearned, retrained: ``(U, N)`` and ``(R, N)`` :func:`log_odds`, two models or more each.
    """
    gold, ours = (gaussians(values, np.ones(values.shape, dtype=bool)) for values in (retrained, unlearned))
    apart = (gold.std**2 + (gold.mean - ours.mean) ** 2) / (2 * ours.std**2)
    return np.asarray(np.log(ours.std / gold.std) + apart - 0.5)


def in_spreads(ours: Array, retrained: Array, itself: int | None = None) -> float:
    """How far a model's answers lie from those of retrained models, in units of how far these lie from each other.

    A distance is the mean over images of ``|margin - mean margin of all retrained models but one|``, averaged over
    which one is left out; the unit is that of those left out.

    Args:
        ours: ``(N,)`` :func:`log_odds` of the model.
        retrained: ``(R, N)`` those of three retrained models or more.
        itself: which of them the model is, if it is one.

    Returns:
        About 1 for one more retrained model.
    """
    count = len(retrained)
    others = np.stack([np.delete(retrained, out, axis=0).mean(0) for out in range(count)])
    unit = np.abs(retrained - others).mean()
    far = np.abs(ours - (others if itself is None else others[[itself]])).mean()
    return float(far / unit)


def memorisation(shadows: Array, inside: Array) -> Array:
    """``(N,)`` how much the label's probability owes to having been trained on the image (Feldman and Zhang, eq. 1).

    The mean probability of models trained on it less that of the others, in [-1, 1]; the paper counts right answers,
    which few models give as coarse steps.

    Args:
        shadows, inside: see :func:`lira`.
    """
    probability = 1 / (1 + np.exp(-shadows))
    kinds = [np.where(use, probability, 0).sum(0) / np.maximum(use.sum(0), 1) for use in (inside, ~inside)]
    if min(inside.sum(0).min(), (~inside).sum(0).min()) < 1:
        raise UserError("memorisation needs models trained with and without each image; train more shadow models.")
    return np.asarray(kinds[0] - kinds[1])


def leak(members: Array, others: Array, fpr: float = FALSE_POSITIVES) -> Leak:
    """How well ``(M,)`` scores of members stand above ``(O,)`` scores of others.

    Returns:
        NaN where there are fewer than :data:`~unlabeled.forgetting.judge.attacks.LEAST_IMAGES` on a side.
    """
    if min(len(members), len(others)) < LEAST_IMAGES:
        nothing = (math.nan, math.nan)
        return Leak(math.nan, nothing, math.nan, nothing)
    auc = float(roc_auc_score(np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])))
    ranked = np.sort(others)[::-1]
    tpr = float((members > ranked[math.floor(fpr * len(others))]).mean())
    return Leak(auc, auc_interval(auc, len(members), len(others)), tpr, _tpr_interval(members, ranked, fpr))


def _tpr_interval(members: Array, ranked: Array, fpr: float) -> tuple[float, float]:
    """95 % interval without assumptions (Hilgers 1991): the threshold's, then Clopper and Pearson's at either end.

    Each of the four bounds fails with at most 1.25 %.
    """
    tail, n, m = 0.0125, len(ranked), len(members)
    # the threshold lies above the k-th largest of the others unless k or more of them are above it, and so on
    above = np.arange(n + 1)
    chance = bdtr(above.astype(np.float64), n, fpr)  # P(at most k of the others above the true threshold)
    few, many = int(np.searchsorted(chance, tail)), int(np.searchsorted(chance, 1 - tail))
    strict = math.inf if few == 0 else ranked[few - 1]
    loose = -math.inf if many >= n else ranked[many]
    low, high = int((members > strict).sum()), int((members >= loose).sum())
    return (
        0.0 if low == 0 else float(betaincinv(low, m - low + 1, tail)),
        1.0 if high == m else float(betaincinv(high + 1, m - high, 1 - tail)),
    )
