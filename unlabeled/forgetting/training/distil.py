"""Teachers: how far a student's outputs are from theirs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """``T² KL(teacher ‖ student)`` of softened outputs, mean over the batch."""
    log_student = F.log_softmax(student / temperature, 1)
    log_teacher = F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


def embedding_error(student: Tensor, teacher: Tensor) -> Tensor:
    """``Σ‖s − t‖² / Σ‖t‖²`` over a batch of ``(B, D)`` embeddings: 0 where they agree, 1 where the student's are zero.

    >>> from torch import tensor
    >>> float(embedding_error(tensor([[3.0, 0.0]]), tensor([[3.0, 4.0]])))
    0.6399999856948853
    """
    size = teacher.square().sum()
    return (student - teacher).square().sum() / size.clamp_min(1e-12)


def mismatch(student: Tensor, teacher: Tensor, temperature: float, *, answers: bool) -> Tensor:
    """The :func:`divergence` of answers; embeddings, which are no logits, are compared by :func:`embedding_error`."""
    return divergence(student, teacher, temperature) if answers else embedding_error(student, teacher)
