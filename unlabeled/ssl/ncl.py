"""NCL: SimCLR whose projections are never negative, so that single dimensions come to stand for something.

Wang, Zhang, Guo and Wang, "Non-negative contrastive learning", ICLR 2024, https://arxiv.org/abs/2403.12459.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.simclr import ContrastiveConfig, SimCLR


class NCLConfig(ContrastiveConfig):
    name: Literal["ncl"] = "ncl"


def non_negative(z: Tensor) -> Tensor:
    """ReLU forward, GELU's gradient backward: units that answer to nothing can come back.

    >>> import torch
    >>> non_negative(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    smooth = F.gelu(z)
    return smooth + (F.relu(z) - smooth).detach()


class NCL(SimCLR):
    """SimCLR on ``ReLU(projection)``."""

    Config = NCLConfig

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return non_negative(super().represent(batch, step))

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        positive = representations.detach() > 0
        sparsity = {"zeros": 1 - positive.float().mean(), "dead": 1 - positive.flatten(0, 1).any(dim=0).float().mean()}
        return {**super().compare(representations, batch, step), **sparsity}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        if logged.get("dead", 0.0) > 0.95:
            return (
                f"NCL: {logged['dead']:.0%} of the projection's dimensions answer to no image of a batch; lower "
                "optimizer.lr, or use fewer method.projection_dim."
            )
        return super().warnings(logged, step)
