"""I-JEPA: predict, from a part of an image, what a teacher makes of other parts; no pixels, no augmented views.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun and Ballas, "Self-supervised learning from images with a
joint-embedding predictive architecture", CVPR 2023, https://arxiv.org/abs/2301.08243.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from unlabeled.backbones.tokens import encode, own_size, patch_grid, require_vit
from unlabeled.core.device import send
from unlabeled.core.precision import full_precision
from unlabeled.data.spec import Pair
from unlabeled.heads.jepa import JEPAPredictor
from unlabeled.heads.mae import fix_positions
from unlabeled.ssl.masking import context_and_targets
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher, momentum_at
from unlabeled.ssl.whole_batch import collapse, spread


class IJEPAConfig(TeacherConfig):
    name: Literal["ijepa"] = "ijepa"
    keep: Literal["student", "teacher"] = Field("teacher", description="which becomes the run's backbone")
    targets: int = Field(4, ge=1, description="blocks to predict")
    target_scale: Pair = Field((0.15, 0.2), description="share of the patches in a target")
    target_aspect: Pair = Field((0.75, 1.5), description="height over width of a target")
    context_scale: Pair = Field((0.85, 1.0), description="share of the patches in the context, before targets are cut")
    predictor_dim: int = Field(384, ge=4, multiple_of=4, description="width of the predictor")
    predictor_depth: int = Field(6, ge=1, description="blocks in the predictor (paper: 6 for ViT-B, 12 for larger)")
    predictor_heads: int = Field(12, ge=1, description="attention heads in the predictor")

    @model_validator(mode="after")
    def _sensible(self) -> IJEPAConfig:
        if self.predictor_dim % self.predictor_heads:
            raise ValueError(
                f"predictor_heads ({self.predictor_heads}) must divide predictor_dim ({self.predictor_dim})"
            )
        for name, most in (("target_scale", 1.0), ("target_aspect", 10.0), ("context_scale", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high <= {most:g}, not [{low}, {high}]")
        return self


@full_precision
def prediction_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between predicted and target tokens ``(…, D)``, the mean over all values.

    So in the authors' code; the paper writes squared distances (section 3, "Loss").
    """
    return F.smooth_l1_loss(predicted, target)


class IJEPA(WithTeacher):
    """The student sees the context alone, the teacher the whole image, and a narrow predictor says what is elsewhere.

    Targets are the teacher's tokens with each token's mean and deviation taken out. Positions are fixed and written
    into ``backbone.pos_embed``.
    """

    Config = IJEPAConfig
    backbone: Any  # a timm VisionTransformer, checked below

    def __init__(self, config: IJEPAConfig, backbone: Any, info: DataInfo) -> None:
        require_vit(backbone, "ijepa", multiple=4)
        super().__init__(config, backbone, info)
        self.cut = patch_grid(backbone, "ijepa")
        fix_positions(backbone, self.cut.grid)
        self.predictor = JEPAPredictor(
            backbone.embed_dim,
            self.cut.grid,
            prefix=backbone.num_prefix_tokens,
            dim=config.predictor_dim,
            depth=config.predictor_depth,
            heads=config.predictor_heads,
        )
        self.teacher = MomentumTeacher(backbone)

    def masks(self, images: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """``(B, V)`` and ``(B, T, n)`` patch numbers: what the student sees, and what is predicted."""
        config = self.config
        context, targets = context_and_targets(
            step,
            len(images),
            self.cut.grid,
            targets=config.targets,
            target_scale=config.target_scale,
            target_aspect=config.target_aspect,
            context_scale=config.context_scale,
        )
        return send(context, images.device), send(targets, images.device)

    @torch.no_grad()
    def wanted(self, images: Tensor, targets: Tensor) -> Tensor:
        """The teacher's normalised tokens at the targets, ``(B, T, n, D)``; it sees the whole image."""
        every = encode(self.teacher.backbone, images)[:, -self.cut.count :]  # type: ignore[arg-type]
        every = F.layer_norm(every, every.shape[-1:])
        places = targets.flatten(1)[:, :, None].expand(-1, -1, every.shape[-1])
        return every.gather(1, places).reshape(*targets.shape, -1)

    def before_step(self, step: Step) -> None:
        if step.number == 0:  # weights to begin with come after the teacher was made
            self.teacher.follow(self.backbone, None, 0.0)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        (view,) = batch.expect_views(1, "ijepa")
        images = own_size(view, self.cut, "ijepa")
        context, targets = self.masks(images, step)
        wanted = self.wanted(images, targets)
        predicted = self.predictor(encode(self.backbone, images, kept=context), context, targets)
        return {"loss": prediction_loss(predicted, wanted), "spread": spread(wanted)}

    def after_step(self, step: Step) -> None:
        momentum = momentum_at(step, self.config.momentum, self.config.momentum_end, straight=True)
        self.teacher.follow(self.backbone, None, momentum)

    def compiled_parts(self) -> list[nn.Module]:
        """Blocks and predictor: the backbones as a whole are never called."""
        blocks: Any = self.teacher.backbone.blocks
        return [self.backbone.blocks, blocks, self.predictor]

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "I-JEPA", "raise method.momentum or lower optimizer.lr")
