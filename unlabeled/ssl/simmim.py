"""SimMIM: hide large squares of an image behind a token and predict their pixels with one linear layer.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai and Hu, "SimMIM: a simple framework for masked image modeling", CVPR 2022,
https://arxiv.org/abs/2111.09886.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.backbones.tokens import encode, own_size, patch_grid, require_vit
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.heads.mae import patchify
from unlabeled.ssl.masking import squares
from unlabeled.ssl.method import Batch, DataInfo, Method, MethodConfig, Picture, Step
from unlabeled.ssl.painting import before_and_after, contrast, flat, over_hidden


class SimMIMConfig(MethodConfig):
    name: Literal["simmim"] = "simmim"
    mask_ratio: float = Field(0.6, gt=0, lt=1, description="fraction of the squares that is hidden, rounded up")
    mask_unit: int = Field(32, ge=1, description="side of a hidden square in pixels (paper: 32 of 224)")


@full_precision
def masked_distance(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute error of ``(B, N, values)`` over the patches where ``hidden`` ``(B, N)`` is true (equation 1)."""
    return over_hidden((predicted - target).abs().mean(dim=-1), hidden)


class SimMIM(Method):
    """Mask tokens stand for the hidden patches in the encoder; a linear layer paints, L1 compares hidden pixels alone.

    The pixels are those the encoder sees, normalised over the data set and not patch by patch. The paper's transformer
    has relative positions; here it is timm's, with the positions it has.
    """

    Config = SimMIMConfig
    backbone: Any  # a timm VisionTransformer, checked below

    def __init__(self, config: SimMIMConfig, backbone: Any, info: DataInfo) -> None:
        require_vit(backbone, "simmim")
        super().__init__(config, backbone, info)
        self.cut = patch_grid(backbone, "simmim")
        unit, (patch, other) = config.mask_unit, self.cut.patch
        if unit % patch or patch != other or any(side % unit for side in self.cut.size):
            raise UserError(
                f"the method 'simmim' hides squares of {unit} pixels, which {patch}-pixel patches or "
                f"{self.cut.size[0]}x{self.cut.size[1]} images do not fit; set method.mask_unit to a multiple of "
                f"{patch} that divides {self.cut.size[0]}, e.g. {patch}."
            )
        self.unit = unit // patch
        count = self.cut.count // self.unit**2
        self.hidden = math.ceil(count * config.mask_ratio - 1e-6)  # 10 * 0.7 is 7.000…1
        if not 0 < self.hidden < count:
            raise UserError(
                f"mask_ratio {config.mask_ratio} hides {self.hidden} of {count} squares; change method.mask_ratio, or "
                "make the squares smaller with method.mask_unit."
            )
        width = self.embedding_dim
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02, a=-0.02, b=0.02))
        self.paint = nn.Linear(width, patch**2 * info.channels)

    def masks(self, images: Tensor, step: Step) -> Tensor:
        """``(B, N)`` bool, true where hidden."""
        return send(squares(step, len(images), self.cut.grid, self.hidden, self.unit), images.device)

    def painted(self, images: Tensor, hidden: Tensor) -> Tensor:
        """What the linear layer makes of each patch: ``(B, N, values)``."""
        found: Tensor = self.paint(encode(self.backbone, images, hidden=hidden, mask_token=self.mask_token))
        return found[:, -self.cut.count :]

    def _checked(self, batch: Batch) -> Tensor:
        (view,) = batch.expect_views(1, "simmim")
        return own_size(view, self.cut, "simmim")

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        images = self._checked(batch)
        hidden, target = self.masks(images, step), patchify(images, self.cut.patch)
        predicted = self.painted(images, hidden)
        return {"loss": masked_distance(predicted, target, hidden), "contrast": contrast(predicted, target)}

    def compiled_parts(self) -> list[nn.Module]:
        """The encoder's blocks: the backbone as a whole is never called."""
        return [self.backbone.blocks]

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return flat(logged, "SimMIM", "lower optimizer.lr or lengthen optimizer.warmup_epochs")

    @torch.no_grad()
    def pictures(self, batch: Batch, step: Step) -> list[Picture]:
        """The first 8 images before and after."""
        images = self._checked(batch)[:8]
        hidden, original = self.masks(images, step), patchify(images, self.cut.patch)
        return [before_and_after("SimMIM", original, self.painted(images, hidden), hidden, self.cut, self.info)]
