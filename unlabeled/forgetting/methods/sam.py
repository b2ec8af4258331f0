"""Sharpness-aware unlearning: forgetting that holds in a neighbourhood of the weights, against relearning.

Fan, Jia, Zhang, Ramakrishna, Hong and Liu, "Towards LLM unlearning resilient to relearning attacks: a sharpness-aware
minimization perspective and beyond", ICML 2025, https://arxiv.org/abs/2502.05374; the step is that of Foret, Kleiner,
Mobahi and Neyshabur, "Sharpness-aware minimization", ICLR 2021, https://arxiv.org/abs/2010.01412.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.methods.negative_gradient import NegativeGradientConfig
from unlabeled.forgetting.training.objective import Weights, train_on_both
from unlabeled.forgetting.training.own import objective_of


class SAMConfig(NegativeGradientConfig):
    """``retain_weight * L(retain; θ) - (1 - retain_weight) * L(forget; θ + δ)``, δ the worst of length ``rho``."""

    rho: float = Field(default=0.05, gt=0, description="length of the step to the worst weights nearby")


def worst_nearby(weights: Weights, loss: Tensor, rho: float) -> dict[str, Tensor]:
    """``θ + ρ ∇loss / ‖∇loss‖``: where within ρ the loss is largest, to first order (SAM, equation 2).

    The displacement is held fixed: a gradient at these weights is one for ``weights``.
    """
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    size = torch.stack([g.square().sum() for g in found if g is not None]).sum().sqrt()
    scale = rho / size.clamp_min(torch.finfo(size.dtype).tiny)
    pairs = zip(weights.items(), found, strict=True)
    return {name: weight if g is None else weight + scale * g for (name, weight), g in pairs}


class SAM(Forgetter[SAMConfig]):
    """Gradient ascent on forget images at the weights nearby that remember them best; descent on the rest."""

    name = "sam"
    does = "gradient ascent on what is to go, at the weights nearby that remember it best"
    Config = SAMConfig
    needs_labels = True
    needs_head = True
    own_loss = True
    ascends = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SAMConfig]) -> Classifier:
        c, objective = frame.config, objective_of(self, model, data, frame)
        weights = {name: p for name, p in objective.network.named_parameters() if p.requires_grad}

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            nearby = worst_nearby(weights, -objective.loss(data.forget, forget_rows, "forget"), c.rho)
            up = objective.loss(data.forget, forget_rows, "forget", nearby)
            return c.retain_weight * objective.loss(data.retain, retain_rows, "retain") - (1 - c.retain_weight) * up

        return train_on_both(objective, data, frame, "sam", loss)
