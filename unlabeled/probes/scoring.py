"""What a probe's answers are worth: top-1, top-5, per class, confusion, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError, Labels, encode
from unlabeled.probes.intervals import accuracy_interval


@dataclass(frozen=True)
class Accuracy:
    """How well scores answer labels.

    Attributes:
        n: test rows.
        top1: share of rows whose best class is right.
        interval: 95 % interval (Wilson) of ``top1``.
        top5: share of rows whose right class is among the five best; None with five classes or fewer.
        per_class: for each class of the training data its share of right answers, None where the test has no such row.
        mean_per_class: mean of those that are numbers.
        confusion: (C, C) counts, row: the label, column: the answer; rows of unseen classes are left out.
        unseen: test rows of a class that training never had; they count as wrong.
    """

    n: int
    top1: float
    interval: tuple[float, float]
    top5: float | None
    per_class: list[float | None]
    mean_per_class: float | None
    confusion: list[list[int]]
    unseen: int

    def asdict(self) -> dict[str, Any]:
        """As plain data for JSON; the confusions as :func:`kept_confusion` has them."""
        return {**asdict(self), "confusion": kept_confusion(self.confusion)}


DENSE_CLASSES = 100


def kept_confusion(counts: Sequence[Sequence[int]]) -> list[list[int]] | dict[str, list[list[int]]]:
    """Confusions as they are kept: (C, C) counts; of more than 100 classes only those that occur, row, column, count.

    >>> kept_confusion([[1, 0], [2, 3]])
    [[1, 0], [2, 3]]
    """
    if len(counts) <= DENSE_CLASSES:
        return [list(row) for row in counts]
    return {"row, column, count": [[i, j, n] for i, row in enumerate(counts) for j, n in enumerate(row) if n]}


def read_confusion(kept: Any, classes: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """(C, C) counts from what :func:`kept_confusion` made; ``None`` where it is nothing of the kind."""
    try:
        if isinstance(kept, dict):
            cells = np.asarray(kept["row, column, count"], dtype=np.int64).reshape(-1, 3)
            counts = np.zeros((classes, classes), np.int64)
            counts[cells[:, 0], cells[:, 1]] = cells[:, 2]
        else:
            counts = np.asarray(kept, dtype=np.int64)
    except (TypeError, ValueError, LookupError):
        return None
    return counts if counts.shape == (classes, classes) else None


def judge(scores: Tensor, labels: Labels, classes: Labels) -> Accuracy:
    """Measure (N, C) scores against (N,) labels.

    Raises:
        InputError: no rows, or labels of another kind than the classes (text against numbers).
    """
    n = len(labels)
    if not n:
        raise InputError("there are no test rows to measure an accuracy on.")
    codes = torch.from_numpy(encode(labels, classes))
    best = scores.argmax(1).cpu()
    right = best == codes
    known = codes >= 0
    cells = codes[known] * len(classes) + best[known]
    confusion = torch.bincount(cells, minlength=len(classes) ** 2).view(len(classes), len(classes))
    count = confusion.sum(1)
    shares = [float(confusion[c, c] / count[c]) if count[c] else None for c in range(len(classes))]
    present = [share for share in shares if share is not None]
    top5 = None
    if len(classes) > 5:
        top5 = float((scores.topk(5, dim=1).indices.cpu() == codes.unsqueeze(1)).any(1).double().mean())
    total = int(right.sum())
    return Accuracy(
        n=n,
        top1=total / n,
        interval=accuracy_interval(total, n),
        top5=top5,
        per_class=shares,
        mean_per_class=float(np.mean(present)) if present else None,
        confusion=confusion.tolist(),
        unseen=int((~known).sum()),
    )
