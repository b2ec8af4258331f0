"""Negative gradient: descend on the retain set, ascend on the forget set (Golatkar et al. 2020)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.methods.paired import train_paired


class NegativeGradientConfig(TrainConfig):
    """``retain_weight * CE(retain) - (1 - retain_weight) * CE(forget)``."""

    epochs: int = Field(default=1, ge=1)
    retain_weight: float = Field(default=0.95, ge=0, le=1)


class NegativeGradient(Forgetter):
    """Gradient ascent on what is to be forgotten, held in place by descent on the rest."""

    name = "negative_gradient"
    Config = NegativeGradientConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: NegativeGradientConfig | None = None) -> None:
        self.config: NegativeGradientConfig = config or NegativeGradientConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        c = self.config
        retain, forget = need_labels(data.retain, self.name), need_labels(data.forget, self.name)

        def loss(keep: Rows, leave: Rows) -> Tensor:
            kept, labels = retain.labelled(keep, device)
            left, wrong = forget.labelled(leave, device)
            logits = model(torch.cat([kept, left]))
            down = F.cross_entropy(logits[: len(kept)], labels)
            return c.retain_weight * down - (1 - c.retain_weight) * F.cross_entropy(logits[len(kept) :], wrong)

        train_paired(model, data, c, loss, seed=seed, stage="negative-gradient", checkpoint=checkpoint)
        return model
