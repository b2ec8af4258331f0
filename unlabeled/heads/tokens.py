"""Heads on both outputs of a transformer: the embedding of an image and those of its patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenHeads(nn.Module):
    """One head for embeddings and patches, or one for each (Oquab et al. 2024, https://arxiv.org/abs/2304.07193).

    Args:
        image: for embeddings.
        patch: for patches; ``None``: the same.

    >>> [tuple(part.shape) for part in TokenHeads(nn.Linear(4, 3))(torch.zeros(2, 4), torch.zeros(5, 4))]
    [(2, 3), (5, 3)]
    """

    def __init__(self, image: nn.Module, patch: nn.Module | None = None) -> None:
        super().__init__()
        self.image, self.patch = image, patch

    def forward(self, embeddings: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of ``(B, D)`` embeddings and of ``(M, D)`` patches."""
        if self.patch is not None:
            return self.image(embeddings), self.patch(patches)
        both = self.image(torch.cat([embeddings, patches]))
        return both[: len(embeddings)], both[len(embeddings) :]
