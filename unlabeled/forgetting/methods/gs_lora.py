"""GS-LoRA: low-rank additions in a transformer's feed-forward layers, in as few blocks as will do.

Zhao, Ni, Fan, Wang, Chen, Meng and Zhang, "Continual forgetting for pre-trained vision models", CVPR 2024,
https://arxiv.org/abs/2403.11530. The paper forgets by cross-entropy; here both losses are on embeddings, so that
neither labels nor a classifier are needed. Its warm-up without the penalty is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unlabeled.backbones.layers import LowRank, merged
from unlabeled.core import rng
from unlabeled.core.device import taken
from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.distil import embedding_error
from unlabeled.forgetting.training.paired import train_paired

Group = Sequence[Tensor]

FIRST = 1e-3
"""Standard deviation of what additions begin with."""


def feed_forward(model: nn.Module) -> list[list[nn.Linear]]:
    """The linear layers of the feed-forward part of each block of a transformer.

    Raises:
        UserError: it has none.
    """
    blocks: dict[str, list[nn.Linear]] = {}
    for name, module in model.named_modules():
        found = re.match(r"(.*\bblocks\.\d+)\.mlp\.", name)
        if found and isinstance(module, nn.Linear):
            blocks.setdefault(found[1], []).append(module)
    if not blocks:
        raise UserError(
            "gs_lora changes the feed-forward layers of a transformer's blocks, and this model has none; "
            "use laf or lfssd."
        )
    return list(blocks.values())


def add_groups(model: nn.Module, rank: int) -> list[list[Tensor]]:
    """Freeze a transformer and add to its feed-forward layers; what is trained, a group for each block."""
    blocks = feed_forward(model)
    model.requires_grad_(False)
    groups: list[list[Tensor]] = []
    for layers in blocks:
        added = [LowRank(layer.weight, rank).to(layer.weight.device) for layer in layers]
        for layer, addition in zip(layers, added, strict=True):
            # at zero, where additions usually begin, the distance to the original has no slope
            nn.init.normal_(addition.up, std=FIRST)
            parametrize.register_parametrization(layer, "weight", addition)
        groups.append([weights for addition in added for weights in addition.parameters()])
    return groups


def sparsity(groups: Iterable[Group]) -> Tensor:
    """``Σ_g ‖θ_g‖₂``: the norm of all that belongs to a block, not squared, so that whole blocks go to zero."""
    return torch.stack([torch.stack([p.square().sum() for p in group]).sum().sqrt() for group in groups]).sum()


def objective(retain: Tensor, forget: Tensor, penalty: Tensor, bound: float, beta: float, alpha: float) -> Tensor:
    """``E(retain) + β max(0, bound − √E(forget)) + α · penalty`` with the errors E of embeddings."""
    return retain + beta * (bound - forget.sqrt()).clamp_min(0) + alpha * penalty


class GSLoRAConfig(TrainConfig):
    """The paper's rank and weights."""

    epochs: int = Field(default=20, ge=1)
    lr: float = Field(default=1e-3, gt=0, description="Adam's learning rate")
    rank: int = Field(default=8, ge=1, description="of each addition")
    alpha: float = Field(default=0.01, ge=0, description="weight of the groups' norms")
    beta: float = Field(default=0.15, ge=0, description="weight of the forget images")
    bound: float = Field(
        default=1.0, gt=0, description="how far forget embeddings are driven; 1: as far as they are long"
    )


class GSLoRA(Forgetter[GSLoRAConfig]):
    """Retain embeddings stay, forget embeddings go up to a bound, and as few blocks as possible change.

    The additions are merged: what comes back is a transformer as before. A classifier stays as it is.
    """

    name = "gs_lora"
    does = "forget embeddings moved by low-rank additions to few blocks; transformers only"
    Config = GSLoRAConfig

    def check(self, model: Classifier, data: ForgetData) -> None:
        super().check(model, data)
        feed_forward(model.extractor)

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[GSLoRAConfig]) -> Classifier:
        c, device = frame.config, frame.device
        stays, goes = (embed_all(model, images, device) for images in (data.retain, data.forget))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.derive(*frame.key("gs-lora")))
            groups = add_groups(model.extractor, c.rank)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            known, gone = data.retain.batch(retain_rows, device), data.forget.batch(forget_rows, device)
            embeddings = model.embed(torch.cat([known, gone]))
            retain = embedding_error(embeddings[: len(known)], taken(stays, retain_rows))
            forget = embedding_error(embeddings[len(known) :], taken(goes, forget_rows))
            return objective(retain, forget, sparsity(groups), c.bound, c.beta, c.alpha)

        train_paired(model, data, frame, "gs-lora", loss)
        model.extractor = merged(model.extractor)
        return model
