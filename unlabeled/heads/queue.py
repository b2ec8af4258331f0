"""A queue of past projections, kept with the model's state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ProjectionQueue(nn.Module):
    """The latest ``size`` projections of each of ``views`` views, newest first (Caron et al. 2020, section 4).

    Args:
        views: V, how many views of an image are kept.
        size: images the queue holds; 0 keeps nothing and is never full.
        dim: size of a projection.
    """

    rows: Tensor
    pushed: Tensor

    def __init__(self, views: int, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("rows", torch.zeros(views, size, dim))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))
        self._counter: Tensor | None = None
        self._count = 0

    @property
    def count(self) -> int:
        """How many images it holds. The device is asked once; after that the host counts along."""
        if self._counter is not self.pushed:  # another buffer may stand in for it (torch.func.functional_call)
            self._counter, self._count = self.pushed, int(self.pushed)
        return min(self._count, self.size)

    @property
    def full(self) -> bool:
        """Whether it holds as many images as it can."""
        return self.size > 0 and self.count == self.size

    @torch.no_grad()
    def push(self, projections: Tensor) -> None:
        """Put ``(V, B, dim)`` in front; the oldest fall out."""
        self.rows.copy_(torch.cat([projections.to(self.rows), self.rows], dim=1)[:, : self.size])
        self.pushed += projections.shape[1]
        self._count += projections.shape[1] if self._counter is self.pushed else 0

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._counter = None
