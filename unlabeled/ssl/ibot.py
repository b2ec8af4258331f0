"""iBOT: DINO on the embedding, and the same on patches that only the teacher sees.

Zhou, Wei, Wang, Shen, Xie, Yuille and Kong, "iBOT: image BERT pre-training with online tokenizer", ICLR 2022,
https://arxiv.org/abs/2111.07832.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from unlabeled.backbones.tokens import own_size, patch_grid, require_vit, tokens
from unlabeled.core.device import send
from unlabeled.core.precision import full_precision
from unlabeled.heads.tokens import TokenHeads
from unlabeled.ssl.centre import Centre
from unlabeled.ssl.masking import blocks
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.multicrop import LARGE, embed_crops, require_large, swapped_loss
from unlabeled.ssl.self_distillation import SelfDistillation, SelfDistillationConfig, entropies
from unlabeled.ssl.whole_batch import WholeBatchMethod


class TokenConfig(SelfDistillationConfig):
    """The settings that iBOT shares with DINOv2."""

    mask_share: float = Field(0.5, ge=0, le=1, description="probability that a large crop is masked for the student")
    mask_ratio: Annotated[tuple[float, float], Field(strict=False)] = Field(
        (0.1, 0.5), description="least and greatest fraction of its patches that is then hidden, in blocks"
    )
    patch_weight: float = Field(1.0, ge=0, description="weight of the patches' loss, that of the embeddings' being 1")
    shared_head: bool = Field(True, description="one head for embeddings and patches, or one for each")

    @model_validator(mode="after")
    def _ratios(self) -> TokenConfig:
        if not 0 < self.mask_ratio[0] <= self.mask_ratio[1] < 1:
            raise ValueError(f"mask_ratio must be [low, high] with 0 < low <= high < 1, not {list(self.mask_ratio)}")
        return self


class IBOTConfig(TokenConfig):
    name: Literal["ibot"] = "ibot"
    centre_momentum: float = Field(0.9, ge=0, lt=1, description="m of the moving averages of the teacher's logits")


class Hidden(NamedTuple):
    """Which patches of this rank's large crops the student does not see."""

    mask: Tensor
    """``(L·B, N)`` bool."""
    where: Tensor
    """``(M,)`` int64: their numbers among all ``L·B·N`` patches."""
    weights: Tensor
    """``(M,)``: a sum with them is the mean over a crop's hidden patches, then over all crops."""


@full_precision
def patch_loss(scores: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student's ``(M, K)`` logits of hidden patches to the teacher's distributions (equation 2).

    Args:
        weights: ``(M,)``, one over the number of hidden patches in the crop, over the number of crops.
    """
    errors = -(targets * F.log_softmax(scores / temperature, dim=1)).sum(dim=1)
    return (errors * weights).sum()


class IBOT(SelfDistillation, WholeBatchMethod):
    """The student sees large crops with blocks of patches hidden, and small ones; the teacher the large ones whole."""

    Config: ClassVar[type[MethodConfig]] = IBOTConfig
    backbone: Any  # a timm VisionTransformer, checked below

    def __init__(self, config: TokenConfig, backbone: nn.Module, info: DataInfo) -> None:
        require_vit(backbone, config.name)
        super().__init__(config, backbone, info)
        self.cut = patch_grid(self.backbone, config.name)
        self.mask_token = nn.Parameter(torch.zeros(self.embedding_dim))
        self.balance(config)

    def balance(self, config: Any) -> None:
        """What keeps the teacher from saying the same of everything: here two centres."""
        self.centre = Centre(config.output_dim, config.centre_momentum)
        self.patch_centre = Centre(config.output_dim, config.centre_momentum)

    def make_head(self) -> nn.Module:
        config = self.config
        one, other = config.head(self.embedding_dim), config.head(self.embedding_dim)
        return TokenHeads(one, None if config.shared_head else other)

    def hide(self, rows: int, step: Step, device: torch.device) -> Hidden:
        """The masks of a step; drawn on the host, where their number is known at once."""
        (low, high), masks = self.config.mask_ratio, []
        for view in range(LARGE):
            chance, ratio = torch.rand(2, step.batch_size, generator=step.generator("ratios", view))
            count = ((low + ratio * (high - low)) * self.cut.count).long().clamp(min=1)
            masks.append(blocks(step, rows, self.cut.grid, count * (chance < self.config.mask_share), view))
        mask = torch.cat(masks)
        where = mask.flatten().nonzero().flatten()
        weights = (mask / mask.sum(dim=1, keepdim=True).clamp(min=1)).flatten()[where] / len(mask)
        return Hidden(send(mask, device), send(where, device), send(weights, device))

    def represent(self, batch: Batch, step: Step) -> Tensor:
        """``(B, V + LN + L + LN, D)``: the student's embeddings and patches, then the teacher's."""
        crops, name = batch.views, self.config.name
        require_large(crops, name)
        large, rows = torch.cat([own_size(crop, self.cut, name) for crop in crops[:LARGE]]), len(batch.rows)
        student = tokens(self.backbone, large, self.hide(rows, step, large.device).mask, self.mask_token)
        small = [embed_crops(self.backbone, crops[LARGE:])] if len(crops) > LARGE else []
        backbone: Any = self.teacher.backbone
        with torch.no_grad():
            teacher = tokens(backbone, large)
        parts = torch.cat([student.embedding, *small]), student.patches, teacher.embedding, teacher.patches
        return torch.cat([part.reshape(-1, rows, *part.shape[1:]).transpose(0, 1).flatten(1, -2) for part in parts], 1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        config, rows, count = self.config, len(representations), LARGE * self.cut.count
        sizes = [len(batch.views), count, LARGE, count]
        seen, patches, taught, whole = torch.split(representations.transpose(0, 1), sizes)
        hidden = self.hide(rows, step, representations.device)
        logits, patch_logits = self.head(seen.flatten(0, 1), self.chosen(patches, hidden))
        with torch.no_grad():
            answers, patch_answers = self.teacher.head(taught.flatten(0, 1), self.chosen(whole, hidden))
        targets, patch_targets = self.targets(answers, patch_answers, step)
        targets = targets.view(LARGE, rows, -1)
        image = swapped_loss(logits.view(-1, rows, config.output_dim), targets, config.temperature)
        patch = patch_loss(patch_logits, patch_targets, hidden.weights, config.temperature)
        terms = {"image_loss": image.detach(), "patch_loss": patch.detach()}
        return {"loss": image + config.patch_weight * patch, **terms, **entropies(targets)}

    def chosen(self, patches: Tensor, hidden: Hidden) -> Tensor:
        """The hidden ones of ``(L·N, B, D)`` patches: ``(M, D)``."""
        crops = patches.reshape(LARGE, -1, *patches.shape[1:]).transpose(1, 2)
        return crops.flatten(0, 2)[hidden.where]

    def targets(self, logits: Tensor, patch_logits: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Distributions from the teacher's logits of embeddings and of hidden patches."""
        temperature = self.config.teacher_temperature_at(step)
        found = self.centre.targets(logits, temperature), self.patch_centre.targets(patch_logits, temperature)
        if self.training:
            self.centre.observe(logits)
            self.patch_centre.observe(patch_logits)
        return found

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        for part in self.children():
            if isinstance(part, Centre):
                part.update()

    def compiled_parts(self) -> list[nn.Module]:
        """The blocks: the student's large crops do not pass the backbone as a whole."""
        return [self.backbone.blocks, self.teacher.backbone.get_submodule("blocks")]
