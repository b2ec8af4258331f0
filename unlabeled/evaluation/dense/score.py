"""How well predicted masks match: mean intersection over union, mean and pixel accuracy, from one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError


@dataclass(frozen=True)
class Confusion:
    """Pixel counts (C, C) int64, row: the mask's class, column: the predicted one; void pixels are left out."""

    counts: Tensor

    @classmethod
    def of(cls, predicted: Tensor, mask: Tensor, classes: int) -> Confusion:
        """Count pixels of one (H, W) prediction and its mask, whose void is -1.

        Raises:
            InputError: they are of different sizes.
        """
        if predicted.shape != mask.shape:
            raise InputError(
                f"a prediction of {tuple(predicted.shape)} pixels does not fit a mask {tuple(mask.shape)}."
            )
        known = mask >= 0
        pairs = mask[known] * classes + predicted[known]
        return cls(torch.bincount(pairs, minlength=classes * classes).view(classes, classes))

    @classmethod
    def total(cls, parts: Iterable[Confusion]) -> Confusion:
        """That of all images together."""
        return cls(torch.stack([part.counts for part in parts]).sum(0))

    def iou(self) -> Tensor:
        """(C,) float64 intersection over union; NaN for classes that are neither in masks nor predicted."""
        counts = self.counts.double()
        return counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())

    def measures(self) -> dict[str, float]:
        """``miou``: mean over classes of the intersection over union; ``macc``: of the share of right pixels of each
        class that masks hold; ``accuracy``: share of right pixels.

        >>> Confusion(torch.tensor([[3, 1], [0, 4]])).measures()["miou"]
        0.775
        """
        counts = self.counts.double()
        return {
            "miou": float(self.iou().nanmean()),
            "macc": float((counts.diagonal() / counts.sum(1)).nanmean()),
            "accuracy": float(counts.diagonal().sum() / counts.sum()),
        }
