"""Self-distillation for further pre-training: go on as a masked autoencoder without leaving what went on before.

Lee, Kang, Lee, Hwang and Kawaguchi, "Self-distillation for further pre-training of transformers", ICLR 2023,
https://arxiv.org/abs/2210.02871. First the given weights go on with MAE on one's own images: that is the teacher. Then
the same given weights go on anew, with MAE and with what the teacher makes of the images (algorithm 1, one round).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from unlabeled.backbones.tokens import encode, patch_grid, require_vit
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.mae import MAE, MAEConfig
from unlabeled.ssl.method import Asked, Batch, DataInfo, Step


class SelfDistillConfig(MAEConfig):
    name: Literal["self_distill"] = "self_distill"  # type: ignore[assignment]
    teacher: str = Field(description="a run of mae that went on from the same weights with the same images")
    weight: float = Field(1.0, ge=0, description="of the distance to the teacher beside the hidden pixels")


@full_precision
def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of ``(B, n, D)`` last hidden representations of whole images (equation 3)."""
    return (student - teacher).square().mean()


class SelfDistill(MAE):
    """MAE's own loss and the distance of all last tokens to the teacher's; both see the whole image for it.

    The teacher is in no checkpoint: it is opened again.
    """

    Config = SelfDistillConfig

    def __init__(
        self, config: SelfDistillConfig, backbone: Any, info: DataInfo, teachers: Sequence[FrozenTeacher]
    ) -> None:
        super().__init__(config, backbone, info)
        (teacher,) = teachers
        vit = require_vit(teacher.network, "self_distill", setting="method.teacher")
        ours, theirs = ((patch_grid(net, "self_distill").count, net.embed_dim) for net in (backbone, vit))
        if ours != theirs or teacher.channels != info.channels:
            raise UserError(
                f"method.teacher: {teacher.name} has {theirs[0]} patches of {theirs[1]} numbers, the student {ours[0]} "
                f"of {ours[1]}; it must be a run of mae from the same weights with the same data.size and channels."
            )
        self.__dict__["teachers"] = (teacher,)  # as in distill.py

    @classmethod
    def asks(cls, config: SelfDistillConfig) -> Asked:
        return Asked((config.teacher,))

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        painted = super().forward(batch, step)["loss"]
        images = self._checked(batch)
        told = hidden_distance(encode(self.backbone, images), self.told(images))
        return {"loss": painted + self.config.weight * told, "painted": painted.detach(), "told": told.detach()}

    @torch.no_grad()
    def told(self, images: Tensor) -> Tensor:
        """The teacher's last tokens of whole images, ``(B, prefix + N, D)``."""
        (teacher,) = self.__dict__["teachers"]
        return encode(teacher.network, teacher.to(images.device).reads(self.info.pixels(images)))
