"""Membership inference: can one tell that an image was trained on? The paper's attack, and a balanced one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng

Array = np.ndarray[Any, Any]


LEAST_IMAGES = 20
"""Of either side: with fewer, an attack that learned nothing has an AUC anywhere between .3 and .7."""


@dataclass(frozen=True)
class Attack:
    """A balanced attack's success: 0.5 is chance for both; ``scores`` are P(member) of members, then of others.

    ``interval`` holds the AUC with 95 % confidence.
    """

    accuracy: float
    auc: float
    interval: tuple[float, float]
    member_scores: Array
    other_scores: Array


def output_features(logits: Tensor, labels: Tensor | None = None) -> Array:
    """What an attacker sees of outputs: log-probabilities sorted by size, entropy, and the loss if labels are known."""
    log_p = F.log_softmax(logits.double(), 1)
    columns = [log_p.sort(1).values.clamp_min(-30), -(log_p.exp() * log_p).sum(1, keepdim=True)]
    if labels is not None:
        columns.append(log_p.gather(1, labels[:, None]).clamp_min(-30))
    return np.concatenate([c.cpu().numpy() for c in columns], axis=1)


def balanced_attack(members: Array, others: Array, *, seed: int = 0, limit: int = 2000, trees: bool = False) -> Attack:
    """Tell members from others by logistic regression on standardised features, 5-fold cross-validated.

    Both sides are cut to the same number of rows (at most ``limit``), so that no constant answer beats 0.5.

    Args:
        members: ``(M, D)`` features of images that were trained on (or are claimed forgotten).
        others: ``(O, D)`` features of images that were not, of the same kind.
        trees: boosted trees instead: what no plane tells apart.

    Returns:
        All of it NaN where there are fewer than :data:`LEAST_IMAGES` on a side.
    """
    count = min(len(members), len(others), limit)
    generator = rng.numpy_generator("attack", seed)
    chosen = [x[np.sort(generator.permutation(len(x))[:count])] for x in (members, others)]
    x, y = np.concatenate(chosen), np.repeat([1, 0], count)
    if count < LEAST_IMAGES:
        return Attack(math.nan, math.nan, (math.nan, math.nan), np.empty(0), np.empty(0))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    if trees:  # few and shallow: with some hundred images deeper ones learn the folds by heart
        model = HistGradientBoostingClassifier(max_iter=40, max_depth=3, early_stopping=False, random_state=seed)
    scores = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    correct = balanced_accuracy_score(y, scores > 0.5)
    auc = float(roc_auc_score(y, scores))
    return Attack(float(correct), auc, auc_interval(auc, count, count), scores[:count], scores[count:])


def auc_interval(auc: float, members: int, others: int) -> tuple[float, float]:
    """95 % interval of an AUC from so many members and others (Hanley and McNeil 1982, equations 1 and 2).

    >>> low, high = auc_interval(0.5, 50, 50)
    >>> round(low, 3), round(high, 3)
    (0.386, 0.614)
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (members - 1) * (q1 - auc**2) + (others - 1) * (q2 - auc**2)
    half = 1.959964 * math.sqrt(max(spread, 0.0) / (members * others))
    return max(0.0, auc - half), min(1.0, auc + half)


def matched(labels: Array, other_labels: Array, seed: int = 0) -> tuple[Array, Array]:
    """Positions in both arrays such that each label occurs equally often on both sides.

    Without it an attack may win by telling classes apart instead of members.
    """
    generator = rng.numpy_generator("matched", seed)
    left: list[Array] = []
    right: list[Array] = []
    for label in np.unique(labels):
        a, b = np.flatnonzero(labels == label), np.flatnonzero(other_labels == label)
        count = min(len(a), len(b))
        left.append(generator.permutation(a)[:count])
        right.append(generator.permutation(b)[:count])
    return np.sort(np.concatenate(left)), np.sort(np.concatenate(right))


def member_scores(retain: Array, unseen: Array, target: Array, *, seed: int = 0, limit: int = 5000) -> Array:
    """P(member) of each ``target`` row under a balanced attacker fitted to tell ``retain`` from ``unseen``."""
    count = min(len(retain), len(unseen), limit)
    generator = rng.numpy_generator("member scores", seed)
    x = np.concatenate([z[generator.permutation(len(z))[:count]] for z in (retain, unseen)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    scores: Array = model.fit(x, np.repeat([1, 0], count)).predict_proba(target)[:, 1]
    return scores


def paper_asr(train: Tensor, test: Tensor, forget: Tensor, *, seed: int = 0) -> tuple[float, int]:
    """The attack success rate of Shen et al. 2024, for comparison with the paper only.

    A boosted-tree attacker learns to tell 5000 training outputs from the first 5000 test outputs (as many of both, at
    most half of the test outputs) by their sorted probabilities; its score is its accuracy on *all* forget outputs (as
    members) and the rest of the test outputs, which is unbalanced: with 6000 forget and 5000 test images, "always
    member" already scores 55 %.

    Args:
        train, test, forget: ``(N, K)`` logits of the whole training set, the test set and the forget set.

    Returns:
        The rate, and of how many images it is.
    """
    p_train, p_test, p_forget = (np.sort(z.softmax(1).cpu().numpy(), axis=1) for z in (train, test, forget))
    half = min(5000, len(p_test) // 2)
    order = rng.numpy_generator("asr", seed).permutation(len(p_train))[:half]
    attacker = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
    attacker.fit(np.concatenate([p_train[order], p_test[:half]]), np.repeat([1, 0], [len(order), half]))
    rest = p_test[half : half + len(p_forget)]
    says = attacker.predict(np.concatenate([p_forget, rest]))
    return float((says == np.repeat([1, 0], [len(p_forget), len(rest)])).mean()), len(says)
