"""Negative gradient: descend on the retain set, ascend on the forget set (Golatkar et al. 2020)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame, StoppingConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.objective import train_on_both
from unlabeled.forgetting.training.own import objective_of


class NegativeGradientConfig(StoppingConfig):
    """``retain_weight * L(retain) - (1 - retain_weight) * L(forget)`` with the loss L the model was trained with."""

    epochs: int = Field(default=1, ge=1)
    retain_weight: float = Field(default=0.95, ge=0, le=1)


class NegativeGradient(Forgetter[NegativeGradientConfig]):
    """Gradient ascent on what is to be forgotten, held in place by descent on the rest."""

    name = "negative_gradient"
    does = "gradient ascent on what is to go"
    Config = NegativeGradientConfig
    needs_labels = True
    needs_head = True
    own_loss = True
    ascends = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[NegativeGradientConfig]) -> Classifier:
        keep, objective = frame.config.retain_weight, objective_of(self, model, data, frame)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            down, up = objective.losses(data, retain_rows, forget_rows)
            return keep * down - (1 - keep) * up

        return train_on_both(objective, data, frame, "negative-gradient", loss)
