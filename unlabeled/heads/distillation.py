"""The head whose output distribution a student copies from its teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DistillationHead(nn.Module):
    """Two GELU layers, a bottleneck on the unit sphere, a wide linear layer: ``(B, D) -> (B, out_dim)`` logits.

    The head of DINO (Caron et al. 2021, appendix C) as Sarnthein et al. 2023 use it: no BatchNorm, weights from
    a normal distribution with deviation 0.02 cut at two, biases zero, no bias in the last layer.

    Args:
        in_dim: size D of the embedding.
        hidden_dim: width of the two hidden layers.
        bottleneck_dim: size of the normalised bottleneck.
        out_dim: number of logits.
        weight_norm: use the last layer's rows scaled to unit length, so that logits are cosines.
        hidden_norm: put BatchNorm into the hidden layers.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        bottleneck_dim: int,
        out_dim: int,
        *,
        weight_norm: bool = True,
        hidden_norm: bool = False,
    ) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for width in (in_dim, hidden_dim):
            hidden += [nn.Linear(width, hidden_dim), *([nn.BatchNorm1d(hidden_dim)] if hidden_norm else []), nn.GELU()]
        self.mlp = nn.Sequential(*hidden, nn.Linear(hidden_dim, bottleneck_dim))
        self.last = nn.Linear(bottleneck_dim, out_dim, bias=False)
        self.weight_norm = weight_norm
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights again."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)  # cut at ±2, a hundred deviations: not at all
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits of ``(B, D)`` embeddings; the last layer, where images differ little, is never in half precision."""
        bottleneck = self.mlp(embedding)
        with torch.autocast(bottleneck.device.type, enabled=False):
            rows = F.normalize(self.last.weight, dim=1) if self.weight_norm else self.last.weight
            return F.linear(F.normalize(bottleneck.to(rows.dtype), dim=1), rows)
