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
        self._full = False

    @property
    def full(self) -> bool:
        """Whether as many images were pushed as the queue holds; once that is so, the device is not asked again."""
        self._full = self._full or (self.size > 0 and int(self.pushed) >= self.size)
        return self._full

    @torch.no_grad()
    def push(self, projections: Tensor) -> None:
        """Put ``(V, B, dim)`` in front; the oldest fall out."""
        self.rows.copy_(torch.cat([projections.to(self.rows), self.rows], dim=1)[:, : self.size])
        self.pushed += projections.shape[1]

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._full = False
