"""data2vec: predict, where patches are hidden, what a teacher's upper layers make of the whole image.

Baevski, Hsu, Xu, Babu, Gu and Auli, "data2vec: a general framework for self-supervised learning in speech, vision and
language", ICML 2022, https://arxiv.org/abs/2202.03555.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.backbones.tokens import block_outputs, encode, own_size, patch_grid, require_vit
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.ssl.masking import blocks
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.painting import over_hidden
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher, momentum_at
from unlabeled.ssl.whole_batch import collapse, spread


class Data2VecConfig(TeacherConfig):
    name: Literal["data2vec"] = "data2vec"
    momentum: float = Field(0.9998, ge=0, le=1, description="m of the teacher's average t <- m t + (1 - m) s at first")
    momentum_end: float = Field(0.9998, ge=0, le=1, description="m at the end of training, reached along a cosine")
    mask_ratio: float = Field(0.6, gt=0, lt=1, description="fraction of the patches that is hidden, in blocks")
    layers: int = Field(6, ge=1, description="K, the uppermost blocks of the teacher whose outputs are averaged")
    beta: float = Field(2.0, gt=0, description="where the smooth L1 loss passes from squares to absolute values")


@full_precision
def layer_average(*outputs: Tensor) -> Tensor:
    """Mean of ``(B, N, D)`` block outputs, each normalised over D, normalised once more (section 3.3).

    The block's output and the last normalisation are those of the authors' code for images; the paper's text speaks of
    the output of the feed-forward network, which it found best for speech.
    """
    normal = [F.layer_norm(output, output.shape[-1:]) for output in outputs]
    mean = torch.stack(normal).mean(dim=0)
    return F.layer_norm(mean, mean.shape[-1:])


@full_precision
def regression_loss(predicted: Tensor, target: Tensor, hidden: Tensor, beta: float) -> Tensor:
    """Smooth L1 of ``(B, N, D)`` over the patches where ``hidden`` ``(B, N)`` is true (section 3.4).

    ``d**2 / (2 beta)`` up to ``|d| = beta``, then ``|d| - beta / 2``.
    """
    return over_hidden(F.smooth_l1_loss(predicted, target, beta=beta, reduction="none").mean(dim=-1), hidden)


class Data2Vec(WithTeacher):
    """The teacher sees the image, the student a mask token for each hidden patch; one linear layer predicts."""

    Config = Data2VecConfig
    backbone: Any  # a timm VisionTransformer, checked below

    def __init__(self, config: Data2VecConfig, backbone: Any, info: DataInfo) -> None:
        require_vit(backbone, "data2vec")
        super().__init__(config, backbone, info)
        self.cut = patch_grid(backbone, "data2vec")
        self.hidden = round(self.cut.count * config.mask_ratio)
        if not 0 < self.hidden < self.cut.count:
            raise UserError(
                f"mask_ratio {config.mask_ratio} hides {self.hidden} of {self.cut.count} patches; change "
                "method.mask_ratio or use smaller patches (backbone.args.patch_size)."
            )
        if config.layers > len(backbone.blocks):
            raise UserError(
                f"method.layers {config.layers} asks for more blocks than the transformer's {len(backbone.blocks)}; "
                f"set method.layers={max(len(backbone.blocks) // 2, 1)} or a deeper backbone."
            )
        width = self.embedding_dim
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02, a=-0.02, b=0.02))
        self.head = nn.Linear(width, width)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.teacher = MomentumTeacher(backbone)

    def masks(self, images: Tensor, step: Step) -> Tensor:
        """``(B, N)`` bool, true where hidden."""
        wanted = torch.full((step.batch_size,), self.hidden)
        return send(blocks(step, len(images), self.cut.grid, wanted), images.device)

    @torch.no_grad()
    def wanted(self, images: Tensor) -> Tensor:
        """The teacher's targets for all patches, ``(B, N, D)``."""
        return layer_average(*block_outputs(self.teacher.backbone, images)[-self.config.layers :])  # type: ignore[arg-type]

    def predicted(self, images: Tensor, hidden: Tensor) -> Tensor:
        """What the student says of all patches, ``(B, N, D)``."""
        found: Tensor = self.head(encode(self.backbone, images, hidden=hidden, mask_token=self.mask_token))
        return found[:, -self.cut.count :]

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        (view,) = batch.expect_views(1, "data2vec")
        images = own_size(view, self.cut, "data2vec")
        hidden, wanted = self.masks(images, step), self.wanted(images)
        loss = regression_loss(self.predicted(images, hidden), wanted, hidden, self.config.beta)
        return {"loss": loss, "spread": spread(wanted)}

    def after_step(self, step: Step) -> None:
        config = self.config
        self.teacher.follow(self.backbone, None, momentum_at(step, config.momentum, config.momentum_end))

    def compiled_parts(self) -> list[nn.Module]:
        """The student's blocks: the backbones as a whole are never called."""
        return [self.backbone.blocks]

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "data2vec", "raise method.momentum, lower optimizer.lr, or average more method.layers")
