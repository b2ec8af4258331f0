"""A network that others trained, frozen: it reads a student's images, whatever size and channels it takes itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.core.model_input import normalised, sized_views


class FrozenTeacher(nn.Module):
    """Answers to images ``(B, C, h, w)`` in [0, 1] with ``(B, D)`` embeddings or logits, without gradients.

    Args:
        model: takes normalised images; an :class:`unlabeled.backbones.Backbone`, or one with a classifier behind it.
        reads: the :class:`unlabeled.backbones.Backbone` in it: size, channels and normalisation of the images it takes;
            ``network`` is its timm model, for methods that look inside.
        name: what the user called it.
        digest: of its weights; results that are kept on disk are known by it.

    Raises:
        UserError: the images of the student cannot be turned into its own.
    """

    def __init__(self, model: nn.Module, reads: Any, name: str, digest: str) -> None:
        super().__init__()
        self.model, self.name, self.digest = model, name, digest
        self.network: nn.Module = reads.model
        self.channels, self.size = int(reads.in_chans), int(reads.image_size)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", reads.mean.detach().clone(), persistent=False)
        self.register_buffer("std", reads.std.detach().clone(), persistent=False)
        self.requires_grad_(False)
        with torch.no_grad():
            self.dim = int(self.eval().model(torch.zeros(1, self.channels, self.size, self.size)).shape[1])

    def train(self, mode: bool = True) -> FrozenTeacher:
        """It never leaves the eval mode."""
        super().train(False)
        return self

    def expect_channels(self, channels: int) -> None:
        """Refuse images that are neither of its own channels nor gray for colour nor colour for gray."""
        if channels != self.channels and (channels, self.channels) not in ((1, 3), (3, 1)):
            raise UserError(
                f"method.teacher: {self.name} takes images of {self.channels} channels, the data has {channels}; set "
                f"data.channels={self.channels}."
            )

    def reads(self, pixels: Tensor) -> Tensor:
        """Images of its own size and channels, normalised as it wants them."""
        return normalised(sized_views(pixels, self.size, self.channels), self.mean, self.std)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Ask the network."""
        answer: Tensor = self.model(self.reads(pixels))
        return answer.float()
