"""DMAE: a masked autoencoder whose inner tokens also follow those of a larger, frozen transformer.

Bai, Wang, Xiao, Wei, Wang, Yuille, Zhou and Xie, "Masked autoencoders enable efficient knowledge distillers", CVPR
2023, https://arxiv.org/abs/2208.12256. The teacher sees only what the student sees, and only its lower blocks are
computed: that is what makes it cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.backbones.tokens import patch_grid, require_vit, tapped, up_to
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.heads.mae import normalise_patches, patchify
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.mae import MAE, MAEConfig, masked_error
from unlabeled.ssl.method import Asked, Batch, DataInfo, Step


class DMAEConfig(MAEConfig):
    name: Literal["dmae"] = "dmae"  # type: ignore[assignment]
    teacher: str = Field(description="a run, timm:NAME, hf-hub:ID or folder: a vision transformer, best one of MAE")
    size: int | None = Field(None, ge=1, description="side of the images that the teacher sees; default: its own")
    depth: float = Field(0.75, gt=0, le=1, description="how far up, in both, the tokens are compared")
    alpha: float = Field(1.0, ge=0, description="weight of that comparison beside the hidden pixels")


@full_precision
def token_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of ``(B, n, D)`` tokens (equation 2)."""
    return (student - teacher).abs().mean()


class DMAE(MAE):
    """MAE's own loss and ``alpha`` times the distance of projected inner tokens to the teacher's, visible ones alone.

    The teacher is in no checkpoint: it is opened again.
    """

    Config = DMAEConfig

    def __init__(self, config: DMAEConfig, backbone: Any, info: DataInfo, teachers: Sequence[FrozenTeacher]) -> None:
        super().__init__(config, backbone, info)
        (teacher,) = teachers
        teacher.expect_channels(info.channels)
        vit = require_vit(teacher.network, "dmae", setting="method.teacher")
        theirs = patch_grid(vit, "dmae")
        if theirs.grid != self.grid:
            raise UserError(
                f"method.teacher: {teacher.name} cuts images of {teacher.size} pixels into {theirs.grid[0]}x"
                f"{theirs.grid[1]} patches, the student {self.grid[0]}x{self.grid[1]}; set "
                f"method.size={self.grid[0] * theirs.patch[0]}."
            )
        # not a module of this one: a frozen network belongs neither into checkpoints nor into the optimiser
        self.__dict__["teachers"] = (teacher,)
        self.own_block, self.their_block = (max(1, round(config.depth * len(net.blocks))) for net in (backbone, vit))
        self.project = nn.Linear(backbone.embed_dim, vit.embed_dim)

    @classmethod
    def asks(cls, config: DMAEConfig) -> Asked:
        return Asked((config.teacher,), config.size)

    def compiled_parts(self) -> list[nn.Module]:
        """The blocks, one by one, and the decoder."""
        return [*self.backbone.blocks, self.decoder]

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        images = self._checked(batch)
        order, hidden = self.masks(images, step)
        visible = order[:, : self.visible]
        encoded, inner = tapped(self.backbone, images, visible, self.own_block)
        target = patchify(images, self.patch_size)
        if self.config.norm_pix:
            target, _, _ = normalise_patches(target)
        painted = masked_error(self.decoder(encoded, order), target, hidden)
        told = token_distance(self.project(inner[:, -self.visible :]), self.told(images, visible))
        return {"loss": painted + self.config.alpha * told, "painted": painted.detach(), "told": told.detach()}

    @torch.no_grad()
    def told(self, images: Tensor, visible: Tensor) -> Tensor:
        """What the teacher makes of the visible patches, ``(B, visible, D)``."""
        (teacher,) = self.__dict__["teachers"]
        seen = teacher.to(images.device).reads(self.info.pixels(images))
        return up_to(teacher.network, seen, visible, self.their_block)[:, -self.visible :]
