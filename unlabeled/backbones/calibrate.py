"""Give a network's BatchNorm layers the statistics of real images."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate_batchnorm(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Return a copy whose BatchNorm running statistics are the plain averages over ``batches``.

    A freshly initialised network has running statistics (0, 1), which its activations do not have; probing
    it as it is underrates it. Weights stay as they are. A model without BatchNorm is returned as a copy.

    Args:
        model: any module.
        batches: normalised images ``(B, C, H, W)`` on the model's device; one pass is made.
    """
    model = copy.deepcopy(model)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return model
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for batch in batches:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
