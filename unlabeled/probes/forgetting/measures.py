"""How well was it forgotten? Pure functions on outputs, embeddings and accuracies, as fractions in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


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


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of two ``(N, D)``, ``(N, E)`` representations of the same images (Kornblith et al. 2019).

    ``‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)`` of the centred matrices: 1 for representations equal up to rotation and
    scale. NaN where one of them is constant.
    """
    x, y = (z.double() - z.double().mean(0) for z in (x, y))
    norm = float(torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y))
    return float(torch.linalg.norm(x.T @ y) ** 2) / norm if norm > 0 else math.nan


def rus(cka_forget: float, cka_retain: float) -> float:
    """Representation unlearning score: the harmonic mean of the CKA to the retrained model on forget and on retain
    images; 1 where both representations are the retrained model's.
    """
    total = cka_forget + cka_retain
    return 2 * cka_forget * cka_retain / total if total > 0 else 0.0


def zrf(logits: Tensor, random_logits: Tensor) -> float:
    """Zero-retrain forgetting (Chundawat et al. 2023): ``1 − mean JS(p ‖ q)`` on forget images.

    p are the model's outputs, q those of an untrained model, JS in bits: 1 where the model answers like one that
    knows nothing, 0 where the two never agree.
    """
    p, q = logits.double().softmax(1), random_logits.double().softmax(1)
    middle = (p + q) / 2

    def kl(a: Tensor) -> Tensor:
        return torch.special.xlogy(a, a / middle).sum(1)

    js = (kl(p) + kl(q)) / (2 * math.log(2))
    return float(1 - js.mean())


def activation_distance(logits: Tensor, retrained_logits: Tensor) -> float:
    """Mean Euclidean distance between the output probabilities of two models on the same images, in [0, √2]."""
    return float((logits.softmax(1) - retrained_logits.softmax(1)).norm(dim=1).mean())


def knn_accuracy(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Accuracy of a cosine nearest-neighbour vote (weights ``exp(sim / 0.07)``) on ``(N, D)`` embeddings."""
    bank, classes = F.normalize(train.float()), int(labels.max()) + 1
    right = 0
    for rows in torch.split(torch.arange(len(test)), 2048):
        similarity, nearest = (F.normalize(test[rows].float()) @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = torch.zeros(len(rows), classes).scatter_add_(1, labels[nearest], (similarity / 0.07).exp())
        right += int((votes.argmax(1) == test_labels[rows]).sum())
    return right / len(test)


def linear_logits(train: Tensor, labels: Tensor, test: Tensor, *, l2: float = 1e-4, steps: int = 100) -> Tensor:
    """Fit multinomial logistic regression on standardised ``(N, D)`` embeddings; return ``(M, K)`` test logits.

    The optimum of ``mean CE + l2 / 2 ‖W‖²`` (a convex problem, no seed) by L-BFGS.
    """
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    x, z = (train - mean) / deviation, (test - mean) / deviation
    classes = int(labels.max()) + 1
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-5)

    def objective() -> float:
        search.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, labels) + l2 / 2 * weight.square().sum()
        torch.autograd.backward(loss)
        return float(loss)

    search.step(objective)
    with torch.no_grad():
        return z @ weight.T + bias
