"""SparK: masked autoencoding for convolutional networks, which see the visible part as if it were sparse.

Tian, Jiang, Diao, Lin, Wang and Yuan, "Designing BERT for convolutional networks: sparse and hierarchical masked
modeling", ICLR 2023, https://arxiv.org/abs/2301.03580.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.backbones.sparse import sparse
from unlabeled.backbones.tokens import PatchGrid, own_size
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.heads.mae import normalise_patches, patchify
from unlabeled.heads.spark import SparKDecoder
from unlabeled.ssl.mae import masked_error
from unlabeled.ssl.masking import shuffled
from unlabeled.ssl.method import Batch, DataInfo, Method, MethodConfig, Picture, Step
from unlabeled.ssl.painting import before_and_after, contrast, flat

LEVELS = 4
"""Maps that are decoded, at most."""


class SparKConfig(MethodConfig):
    name: Literal["spark"] = "spark"
    mask_ratio: float = Field(0.6, gt=0, lt=1, description="fraction of the cells that is hidden")
    norm_pix: bool = Field(True, description="predict cells normalised one by one; false: the pixels themselves")
    decoder_dim: int = Field(768, ge=8, description="width of the decoder at the smallest map; halved as maps double")


class SparK(Method):
    """Cells as large as a position of the last map are hidden; all maps are decoded, hidden cells compared."""

    Config = SparKConfig
    recomputes = False  # the masks are at hand in the forward pass only
    backbone: Any  # a convolutional network of timm, checked below

    def __init__(self, config: SparKConfig, backbone: Any, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        size = tuple(backbone.pretrained_cfg["input_size"][1:])
        channels, self.cut = _hierarchy(backbone, size)
        cells = self.cut.count
        self.visible = round(cells * (1 - config.mask_ratio))
        if not 0 < self.visible < cells:
            raise UserError(
                f"mask_ratio {config.mask_ratio} leaves {self.visible} of {cells} cells visible; change "
                "method.mask_ratio, or make the images larger (size in the recipe's views)."
            )
        self.decoder = SparKDecoder(channels, self.cut.patch[0], config.decoder_dim, info.channels)

    def masks(self, images: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """``(B, V)`` numbers of the visible cells, and ``(B, N)`` bool, true where hidden."""
        kept = shuffled(step, len(images), self.cut.count)[:, : self.visible]
        hidden = torch.ones(len(kept), self.cut.count, dtype=torch.bool).scatter(1, kept, False)
        return send(kept, images.device), send(hidden, images.device)

    def painted(self, images: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        """What the decoder makes of each cell, ``(B, N, values)``."""
        holes = hidden.view(-1, 1, *self.cut.grid)
        pixels = holes.repeat_interleave(self.cut.patch[0], 2).repeat_interleave(self.cut.patch[1], 3)
        with sparse(kept, self.cut.grid, self.backbone, self.decoder.norms):
            maps = _by_size(self.backbone, images.masked_fill(pixels, 0), len(self.decoder.norms))
            maps = [norm(found) for norm, found in zip(self.decoder.norms, maps, strict=True)]
        return patchify(self.decoder(maps, holes), self.cut.patch)

    def _checked(self, batch: Batch) -> Tensor:
        (view,) = batch.expect_views(1, "spark")
        return own_size(view, self.cut, "spark")

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        images = self._checked(batch)
        kept, hidden = self.masks(images, step)
        target = patchify(images, self.cut.patch)
        if self.config.norm_pix:
            target, _, _ = normalise_patches(target)
        predicted = self.painted(images, kept, hidden)
        return {"loss": masked_error(predicted, target, hidden), "contrast": contrast(predicted, target)}

    def compiled_parts(self) -> list[nn.Module]:
        """The decoder: the backbone is called with hooks that change from step to step."""
        return [self.decoder]

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return flat(logged, "SparK", "lower optimizer.lr or lengthen optimizer.warmup_epochs")

    @torch.no_grad()
    def pictures(self, batch: Batch, step: Step) -> list[Picture]:
        """The first 8 images before and after."""
        images = self._checked(batch)[:8]
        kept, hidden = self.masks(images, step)
        original, predicted = patchify(images, self.cut.patch), self.painted(images, kept, hidden)
        if self.config.norm_pix:
            _, mean, deviation = normalise_patches(original)
            predicted = predicted * deviation + mean
        return [before_and_after("SparK", original, predicted, hidden, self.cut, self.info)]


def _by_size(backbone: Any, images: Tensor, levels: int) -> list[Tensor]:
    """The last map of each of the smallest sizes, from the smallest up."""
    maps = {found.shape[2:]: found for found in backbone.forward_intermediates(images, intermediates_only=True)}
    return list(maps.values())[::-1][:levels]


def _hierarchy(backbone: Any, size: tuple[int, ...]) -> tuple[list[int], PatchGrid]:
    """Channels of the maps to decode, from the smallest up, and the cells that are hidden.

    Raises:
        UserError: the network is not convolutional, or its maps do not divide the images.
    """
    training, kind = backbone.training, type(backbone).__name__
    refusal = UserError(
        f"the method 'spark' needs a convolutional network that gives its maps (timm's ResNets, ConvNeXts), not this "
        f"{kind}; set backbone.name, e.g. to resnet50 or resnet10_small."
    )
    if not hasattr(backbone, "forward_intermediates") or getattr(backbone, "output_fmt", "NCHW") != "NCHW":
        raise refusal
    try:
        backbone.eval()
        image = torch.zeros(1, int(backbone.pretrained_cfg["input_size"][0]), *size)
        maps = _by_size(backbone, image, LEVELS + 1)
        last, ratio = maps[0].shape[2:], 2 ** round(math.log2(size[0] / maps[0].shape[2]))
        wanted = [torch.Size((last[0] * 2**level, last[1] * 2**level)) for level in range(len(maps))]
        if size != (last[0] * ratio, last[1] * ratio) or [found.shape[2:] for found in maps] != wanted:
            raise UserError(
                f"the method 'spark' needs images that halve evenly: {kind} makes maps of {last[0]}x{last[1]} from "
                f"{size[0]}x{size[1]} pixels; set size in the recipe's views to a multiple of {ratio}, e.g. "
                f"{-(-size[0] // ratio) * ratio}."
            )
        maps = maps[: min(LEVELS, int(math.log2(ratio)))]
        with sparse(torch.zeros(1, 1, dtype=torch.int64), (last[0], last[1]), backbone):
            seen = _by_size(backbone, image, len(maps))
        if len(maps) < 2 or any(bool(found.flatten(2)[:, :, -1].any()) for found in seen if found.shape[2] > 1):
            raise refusal  # something other than a convolution fills what is hidden
        sums, weights = [found.sum() for found in maps], [p for p in backbone.parameters() if p.requires_grad]
        used: tuple[Tensor | None, ...] = torch.autograd.grad(sums, weights, allow_unused=True)
    finally:
        backbone.train(training)
    for parameter in (weight for weight, gradient in zip(weights, used, strict=True) if gradient is None):
        if parameter.ndim > 1:
            raise refusal  # layers behind the last map would learn nothing
        parameter.requires_grad_(False)  # a norm before the classifier
    return [found.shape[1] for found in maps], PatchGrid((size[0], size[1]), (last[0], last[1]), (ratio, ratio))
