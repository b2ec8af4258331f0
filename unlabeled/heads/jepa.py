"""The predictor of I-JEPA: from the patches that were seen to those at other places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlabeled.heads.mae import Block, sincos_positions


class JEPAPredictor(nn.Module):
    """A narrow transformer over the context and mask tokens that say where to predict.

    Assran et al. 2023, section 3 "Prediction" and appendix A.1, https://arxiv.org/abs/2301.08243. Each target block is
    predicted by itself.

    Args:
        in_dim: width of the encoder's tokens.
        grid: rows and columns of patches.
        prefix: leading tokens that are no patches (class and register tokens); they get no position.
        dim, depth, heads: width (divisible by 4 and by ``heads``), blocks and attention heads.

    >>> predictor = JEPAPredictor(48, (4, 4), prefix=0, dim=16, depth=1, heads=2)
    >>> context, targets = torch.tensor([[0, 1, 4]]), torch.tensor([[[10, 11], [14, 15]]])
    >>> tuple(predictor(torch.zeros(1, 3, 48), context, targets).shape)
    (1, 2, 2, 48)
    """

    positions: Tensor

    def __init__(self, in_dim: int, grid: tuple[int, int], *, prefix: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.register_buffer("positions", sincos_positions(*grid, dim), persistent=False)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.predict = nn.Linear(dim, in_dim)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Predict the encoder's tokens at the targets.

        Args:
            tokens: ``(B, prefix + V, in_dim)`` encoder output.
            context: ``(B, V)`` patch numbers of its patches.
            targets: ``(B, T, n)`` patch numbers to predict.

        Returns:
            ``(B, T, n, in_dim)``.
        """
        rows, blocks, count = targets.shape
        embedded = self.embed(tokens)
        seen = embedded[:, self.prefix :] + self.positions[context]
        given = torch.cat([embedded[:, : self.prefix], seen], dim=1).repeat_interleave(blocks, dim=0)
        asked = (self.mask_token + self.positions[targets]).flatten(0, 1)
        x = self.blocks(torch.cat([given, asked.to(given.dtype)], dim=1))
        predicted: Tensor = self.predict(self.norm(x[:, -count:]))
        return predicted.reshape(rows, blocks, count, -1)
