"""The centre of a teacher's logits, which is taken from them so that no output wins for every image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision


class Centre(nn.Module):
    """A moving average of the mean logits of the global batch (Caron et al. 2021, equation 4).

    Args:
        dim: number K of logits.
        momentum: m of ``c <- m c + (1 - m) mean``.

    >>> centre = Centre(2, momentum=0.5)
    >>> centre.observe(torch.tensor([[4.0, 0.0], [0.0, 2.0]]))
    >>> centre.update()
    >>> centre.value
    tensor([1.0000, 0.5000])
    """

    value: Tensor
    seen: Tensor

    def __init__(self, dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))
        # sums of the step's logits, and their number behind them; empty whenever a checkpoint is written
        self.register_buffer("seen", torch.zeros(dim + 1), persistent=False)

    def targets(self, logits: Tensor, temperature: float) -> Tensor:
        """Distributions ``softmax((logits - c) / temperature)`` of ``(…, K)`` logits."""
        return _sharpened(logits, self.value, temperature)

    @torch.no_grad()
    def observe(self, logits: Tensor) -> None:
        """Note this rank's ``(…, K)`` logits; a step may bring them in several parts."""
        rows = logits.flatten(0, -2).to(self.seen)
        self.seen[:-1] += rows.sum(dim=0)
        self.seen[-1] += len(rows)

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre towards the mean of what all ranks noted; it stays where they noted nothing."""
        total = dist.all_reduce_sum(self.seen.clone())
        mean, noted = total[:-1] / total[-1].clamp(min=1), (total[-1] > 0).to(total)
        self.value.lerp_(mean, noted * (1 - self.momentum))
        self.seen.zero_()


@full_precision
def _sharpened(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    return F.softmax((logits - centre) / temperature, dim=-1)
