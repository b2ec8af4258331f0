"""RotNet: learn by telling by which right angle an image was turned.

Gidaris, Singh and Komodakis, "Unsupervised representation learning by predicting image rotations",
ICLR 2018, https://arxiv.org/abs/1803.07728.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch, DataInfo, Method, MethodConfig, Step


class RotationConfig(MethodConfig):
    name: Literal["rotation"] = "rotation"


def rotations(images: Tensor) -> tuple[Tensor, Tensor]:
    """Turn every image by 0, 90, 180 and 270 degrees counter-clockwise, without interpolation.

    Args:
        images: ``(B, C, H, H)``.

    Returns:
        ``(4B, C, H, H)``, the four copies of an image next to each other, and their ``(4B,)`` labels 0 to 3.
    """
    copies = torch.stack([torch.rot90(images, turns, dims=(2, 3)) for turns in range(4)], dim=1)
    labels = torch.arange(4, device=images.device).repeat(images.shape[0])
    return copies.flatten(0, 1), labels


def square(view: Tensor, method: str) -> Tensor:
    """The view, if it can be turned.

    Raises:
        UserError: it is not square.
    """
    height, width = view.shape[2:]
    if height != width:
        raise UserError(
            f"the method '{method}' needs square views, its view is {height}x{width} pixels; "
            "set 'size' in the recipe's views."
        )
    return view


class Rotation(Method):
    """Classify the four rotations of one view, all four in the same batch (section 2 of the paper)."""

    Config = RotationConfig

    def __init__(self, config: RotationConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        self.head = nn.Linear(self.embedding_dim, 4)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        images, labels = rotations(square(batch.expect_views(1, "rotation")[0], "rotation"))
        logits = self.head(self.backbone(images))
        return {
            "loss": F.cross_entropy(logits, labels),
            "accuracy": (logits.detach().argmax(dim=1) == labels).float().mean(),
        }
