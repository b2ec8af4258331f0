"""How well was it forgotten? Pure functions on outputs, embeddings and accuracies, as fractions in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows of ``(N, K)`` logits whose largest entry is at the ``(N,)`` label; NaN for no rows."""
    if len(labels) == 0:
        return math.nan
    return float((logits.argmax(1) == labels.to(logits.device)).float().mean())


def class_accuracy(logits: Tensor, labels: Tensor, classes: int) -> list[float]:
    """:func:`accuracy` of each class; NaN for a class without images."""
    return [accuracy(logits[labels == c], labels[labels == c]) for c in range(classes)]


def aus(test: float, original_test: float, forget: float, test_of_random: float | None = None) -> float:
    """Adaptive unlearning score (Cotogni et al. 2023, eq. 5): 1 is ideal.

    Args:
        test: accuracy on test images (of the classes kept) after forgetting, A_t.
        original_test: the original's, A_or.
        forget: accuracy on the images forgotten, A_f.
        test_of_random: for the removal of random images, A_t again; then the ideal A_f is A_t, not 0.

    Returns:
        ``(1 − (A_or − A_t)) / (1 + A_f)``, or ``(1 − (A_or − A_t)) / (1 + |A_f − A_t|)``.
    """
    wrong = forget if test_of_random is None else abs(forget - test_of_random)
    return (1 - (original_test - test)) / (1 + wrong)


def rus(cka_forget: float, cka_retain: float) -> float:
    """Representation unlearning score: the harmonic mean of the CKA to the retrained model on forget and on retain
    images; 1 where both representations are the retrained model's. An estimate below 0 counts as 0.
    """
    cka_forget, cka_retain = (value if math.isnan(value) else max(value, 0.0) for value in (cka_forget, cka_retain))
    total = cka_forget + cka_retain
    return 0.0 if total == 0 else 2 * cka_forget * cka_retain / total


def zrf(logits: Tensor, random_logits: Tensor) -> float:
    """Zero-retrain forgetting (Chundawat et al. 2023): ``1 − mean JS(p ‖ q)`` on forget images.

    p are the model's outputs, q those of an untrained model, JS in bits: 1 where the model answers like one that
    knows nothing, 0 where the two never agree.
    """
    p, q = logits.double().softmax(1), random_logits.double().softmax(1)
    middle = (p + q) / 2

    kl_p, kl_q = (torch.special.xlogy(a, a / middle).sum(1) for a in (p, q))
    return float(1 - ((kl_p + kl_q) / (2 * math.log(2))).mean())


def activation_distance(logits: Tensor, retrained_logits: Tensor) -> float:
    """Mean Euclidean distance between the output probabilities of two models on the same images, in [0, √2]."""
    return float((logits.softmax(1) - retrained_logits.softmax(1)).norm(dim=1).mean())


def moved(embeddings: Tensor, original: Tensor) -> float:
    """How far ``(N, D)`` embeddings went from the original's, in units of those' own spread: 0 where nothing moved.

    The mean distance of each image to its old place over the mean distance of the old places to their mean.
    """
    spread = (original - original.mean(0)).norm(dim=1).mean()
    return float((embeddings - original).norm(dim=1).mean() / spread) if spread > 0 else math.nan
