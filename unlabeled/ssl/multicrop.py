"""Crops of several sizes: two large ones of each image, which give the targets, and small ones, which see a part.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin 2020 (SwAV), section 3.2, https://arxiv.org/abs/2006.09882.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision

LARGE = 2
"""The first views are the large crops, the only ones that give targets."""


def require_large(crops: Sequence[Tensor], method: str) -> None:
    """Make sure that two large crops come first.

    Raises:
        UserError: they do not.
    """
    if len(crops) < LARGE or crops[0].shape != crops[1].shape:
        raise UserError(
            f"the method '{method}' needs two large crops of one size first; set count: 2 in the first of the recipe's "
            "'views'."
        )


def embed_crops(backbone: nn.Module, crops: Sequence[Tensor]) -> Tensor:
    """Embeddings of crops of several sizes, ``(V·B, D)`` in their order; crops of one size pass in one batch."""
    groups = [torch.cat(list(group)) for _, group in groupby(crops, key=lambda crop: crop.shape)]
    return torch.cat([backbone(group) for group in groups])


@full_precision
def swapped_loss(scores: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between the target of each large crop and the predictions of all *other* crops.

    Equations 2 and 6 of SwAV, with its codes as targets; equation 3 of DINO, with the teacher's distributions.

    Args:
        scores: ``(V, B, K)`` logits of all crops, the large ones first.
        targets: ``(L, B, K)`` distributions of the large crops.
        temperature: the logits are divided by it.
    """
    predictions = F.log_softmax(scores / temperature, dim=2)
    pairs = -torch.einsum("ibk,vbk->iv", targets, predictions) / scores.shape[1]
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(targets))
