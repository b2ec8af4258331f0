"""Whether what a network was turned into still answers as the network does."""

from __future__ import annotations

from torch import Tensor

TOLERANCE = 1e-4
"""The largest :func:`gap` that is allowed."""


def gap(got: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest wanted value where that exceeds 1; infinite for other shapes.

    >>> import torch
    >>> gap(torch.tensor([9.0]), torch.tensor([10.0])), gap(torch.zeros(2), torch.zeros(3))
    (0.1, inf)
    """
    if got.shape != wanted.shape:
        return float("inf")
    return float((got - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))
