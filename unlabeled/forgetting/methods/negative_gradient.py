"""Negative gradient: descend on the retain set, ascend on the forget set (Golatkar et al. 2020)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.paired import train_paired


class NegativeGradientConfig(TrainConfig):
    """``retain_weight * CE(retain) - (1 - retain_weight) * CE(forget)``."""

    epochs: int = Field(default=1, ge=1)
    retain_weight: float = Field(default=0.95, ge=0, le=1)


class NegativeGradient(Forgetter[NegativeGradientConfig]):
    """Gradient ascent on what is to be forgotten, held in place by descent on the rest."""

    name = "negative_gradient"
    does = "gradient ascent on what is to go"
    Config = NegativeGradientConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[NegativeGradientConfig]) -> Classifier:
        c = frame.config
        retain, forget = need_labels(data.retain, self.name), need_labels(data.forget, self.name)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            known, labels = retain.labelled(retain_rows, frame.device)
            gone, unwanted = forget.labelled(forget_rows, frame.device)
            logits = model(torch.cat([known, gone]))
            down = F.cross_entropy(logits[: len(known)], labels)
            return c.retain_weight * down - (1 - c.retain_weight) * F.cross_entropy(logits[len(known) :], unwanted)

        train_paired(model, data, frame, "negative-gradient", loss)
        return model
