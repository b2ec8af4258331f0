"""MAE: hide most patches of an image and paint them in again.

He, Chen, Xie, Li, Dollar and Girshick, "Masked autoencoders are scalable vision learners", CVPR 2022,
https://arxiv.org/abs/2111.06377.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from unlabeled.backbones.tokens import encode, own_size, patch_grid, require_vit
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.heads.mae import MAEDecoder, initialise_mae, normalise_patches, patchify
from unlabeled.ssl.masking import shuffled
from unlabeled.ssl.method import Batch, DataInfo, Method, MethodConfig, Picture, Step
from unlabeled.ssl.painting import before_and_after, over_hidden


class MAEConfig(MethodConfig):
    name: Literal["mae"] = "mae"
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="fraction of the patches that is hidden")
    norm_pix: bool = Field(True, description="predict patches normalised one by one; false: the pixels themselves")
    decoder_dim: int = Field(128, ge=4, multiple_of=4, description="width of the decoder (paper: 512)")
    decoder_depth: int = Field(2, ge=1, description="blocks in the decoder (paper: 8)")
    decoder_heads: int = Field(4, ge=1, description="attention heads in the decoder (paper: 16)")

    @model_validator(mode="after")
    def _divisible(self) -> MAEConfig:
        if self.decoder_dim % self.decoder_heads:
            raise ValueError(f"decoder_heads ({self.decoder_heads}) must divide decoder_dim ({self.decoder_dim})")
        return self


@full_precision
def masked_error(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error of ``(B, N, values)`` predictions over the patches where ``hidden`` ``(B, N)`` is true."""
    return over_hidden((predicted - target).square().mean(dim=-1), hidden)


class MAE(Method):
    """Encode the visible patches with a timm vision transformer, decode all, compare the hidden ones.

    cls, register and mask tokens are weight-decayed, one-dimensional parameters are not (as in the paper's
    code): the default parameter groups. Positions are fixed and written into ``backbone.pos_embed``, so
    that the saved backbone is an ordinary timm model.
    """

    Config: ClassVar[type[MAEConfig]] = MAEConfig
    backbone: Any  # a timm VisionTransformer, checked below

    def __init__(self, config: MAEConfig, backbone: Any, info: DataInfo) -> None:
        require_vit(backbone, "mae", multiple=4)
        super().__init__(config, backbone, info)
        self.cut = cut = patch_grid(backbone, "mae")
        self.grid, self.patch_size, self.patches = cut.grid, cut.patch, cut.count
        self.visible = int(self.patches * (1 - config.mask_ratio) + 1e-6)  # 25 * (1 - 0.8) is 4.999…
        if not 0 < self.visible < self.patches:
            raise UserError(
                f"mask_ratio {config.mask_ratio} leaves {self.visible} of {self.patches} patches visible; change "
                "method.mask_ratio or use smaller patches (backbone.args.patch_size)."
            )
        self.decoder = MAEDecoder(
            backbone.embed_dim,
            self.grid,
            self.patch_size[0] * self.patch_size[1] * info.channels,
            prefix=backbone.num_prefix_tokens,
            dim=config.decoder_dim,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
        )
        initialise_mae(backbone, self.decoder, self.grid)

    def compiled_parts(self) -> list[nn.Module]:
        """The encoder's blocks and the decoder: the backbone as a whole is never called."""
        return [self.backbone.blocks, self.decoder]

    def masks(self, images: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Shuffle each image's patches; the first are visible.

        Returns:
            ``(B, patches)`` patch numbers in shuffled order, and ``(B, patches)`` bool, true where hidden.
        """
        order = shuffled(step, len(images), self.patches)
        hidden = torch.ones_like(order, dtype=torch.bool).scatter(1, order[:, : self.visible], False)
        return send(order, images.device), send(hidden, images.device)

    def encode(self, images: Tensor, order: Tensor) -> Tensor:
        """Run only the prefix tokens and the visible patches through the transformer: ``(B, prefix + visible, D)``."""
        return encode(self.backbone, images, kept=order[:, : self.visible])

    def _checked(self, batch: Batch) -> Tensor:
        (view,) = batch.expect_views(1, "mae")
        return own_size(view, self.cut, "mae")

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        images = self._checked(batch)
        order, hidden = self.masks(images, step)
        target = patchify(images, self.patch_size)
        if self.config.norm_pix:
            target, _, _ = normalise_patches(target)
        predicted = self.decoder(self.encode(images, order), order)
        return {"loss": masked_error(predicted, target, hidden)}

    @torch.no_grad()
    def pictures(self, batch: Batch, step: Step) -> list[Picture]:
        """Originals, what the encoder sees, and the hidden patches painted in, for the first 8 images."""
        images = self._checked(batch)[:8]
        order, hidden = self.masks(images, step)
        original = patchify(images, self.patch_size)
        predicted = self.decoder(self.encode(images, order), order).to(original)
        if self.config.norm_pix:
            _, mean, deviation = normalise_patches(original)
            predicted = predicted * deviation + mean
        return [before_and_after("masked autoencoder", original, predicted, hidden, self.cut, self.info)]
