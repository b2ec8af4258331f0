"""SLUG: one gradient, one layer, one step.

Cai, Tan and Asif, "Targeted unlearning with single layer unlearning gradient", ICML 2025,
https://arxiv.org/abs/2407.11867.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.epochs import mean_loss
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.images import UnlabelledImages
from unlabeled.forgetting.training.agreement import ENOUGH, Agreement
from unlabeled.forgetting.training.objective import Objective
from unlabeled.forgetting.training.own import objective_of

HALVINGS = 10
"""Of the search for the step size."""


class SLUGConfig(ForgetterConfig):
    """The step is the longest that leaves 99 % of what the network says of retain images."""

    batch_size: int = Field(default=32, ge=1)
    longest: float = Field(default=1.0, gt=0, description="of the steps tried, in units of the layer's own norm")


def importance(gradient: Tensor, weight: Tensor) -> float:
    """``‖∇L_f‖ / ‖θ‖`` of a layer."""
    return float((gradient.norm() / weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)).item())


def alignment(forget: Tensor, retain: Tensor) -> float:
    """``|cos(∇L_f, ∇L_r)|`` of a layer."""
    return abs(float(torch.cosine_similarity(forget.flatten(), retain.flatten(), dim=0).item()))


def pareto(scores: Mapping[str, tuple[float, float]]) -> list[str]:
    """The layers that no other beats in both scores, from (importance: more is better, alignment: less is better).

    >>> pareto({"a": (3.0, 0.5), "b": (2.0, 0.1), "c": (1.0, 0.2)})
    ['a', 'b']
    """

    def beaten(mine: tuple[float, float]) -> bool:
        return any(o[0] >= mine[0] and o[1] <= mine[1] and o != mine for o in scores.values())

    return [name for name, score in scores.items() if not beaten(score)]


def mean_gradients(
    objective: Objective, layers: Sequence[nn.Parameter], images: UnlabelledImages, part: str, batch_size: int
) -> list[Tensor]:
    """The gradients of the loss of ``images``, mean over their batches."""
    total = [torch.zeros_like(p) for p in layers]
    batches = list(images.positions(batch_size, drop_last=objective.whole_batches))
    for number, rows in enumerate(batches):
        objective.before_step(number, len(batches))
        found = torch.autograd.grad(objective.loss(images, rows, part), layers, allow_unused=True)
        for sum_, gradient in zip(total, found, strict=True):
            if gradient is not None:
                sum_ += gradient / len(batches)
    return total


class SLUG(Forgetter[SLUGConfig]):
    """Ascends the loss of the forget images in the one layer of the extractor that matters to them and not to the rest.

    Of the layers on the Pareto front of importance and alignment, each gets the longest step that the retain images
    allow (a binary search, as in the paper; the rule reads no labels), and the one that raises the loss of the forget
    images most is taken.
    """

    name = "slug"
    does = "one step up the gradient of what is to go, in the one layer that matters to it most"
    Config = SLUGConfig
    needs_labels = True
    needs_head = True
    own_loss = True
    ascends = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SLUGConfig]) -> Classifier:
        c, objective = frame.config, objective_of(self, model, data, frame)
        objective.network.eval()
        model.eval()
        names = [name for name, p in objective.encoder.named_parameters() if p.ndim > 1 and p.requires_grad]
        layers = [objective.encoder.get_parameter(name) for name in names]
        forget, retain = (
            mean_gradients(objective, layers, images, part, c.batch_size)
            for images, part in ((data.forget, "forget"), (data.retain, "retain"))
        )
        scores = {
            name: (weight, alignment(f, r))
            for name, p, f, r in zip(names, layers, forget, retain, strict=True)
            if (weight := importance(f, p)) != 0
        }
        if not scores:
            raise UserError("slug: the loss of the images to forget has no gradient; use laf.")
        agreement = Agreement(model, data.retain, frame.device, "slug", frame.seed)
        tried = {}
        for name in pareto(scores):
            gradient = forget[names.index(name)]
            step = gradient * longest_step(model, name, gradient, agreement, c.longest)
            tried[name] = step, loss_after(objective, name, step, data.forget, c.batch_size)
        best = max(tried, key=lambda name: tried[name][1])
        with torch.no_grad():
            model.extractor.get_parameter(best).add_(tried[best][0])
        return model


@contextmanager
def moved(layer: Tensor, step: Tensor) -> Iterator[None]:
    """Within it, the layer stands a step away; afterwards it is what it was, to the bit."""
    before = layer.clone()
    layer.add_(step)
    try:
        yield
    finally:
        layer.copy_(before)


@torch.no_grad()
def loss_after(objective: Objective, name: str, step: Tensor, images: UnlabelledImages, batch_size: int) -> float:
    """The loss of the forget images once the layer has made ``step``, on the views that gave the gradient."""
    batches, losses = list(images.positions(batch_size, drop_last=objective.whole_batches)), []
    with moved(objective.encoder.get_parameter(name), step):
        for number, rows in enumerate(batches):
            objective.before_step(number, len(batches))
            losses.append(objective.loss(images, rows, "forget"))
    return mean_loss(losses)


@torch.no_grad()
def longest_step(model: Classifier, name: str, gradient: Tensor, agreement: Agreement, longest: float) -> float:
    """The largest λ that leaves enough agreement after ``θ ← θ + λ gradient``, by bisection.

    Args:
        name: of the layer in the model's extractor.
        longest: at most so many norms of the layer.
    """
    layer = model.extractor.get_parameter(name)
    low, high = 0.0, longest * float(layer.norm() / gradient.norm())
    step = high
    for _ in range(HALVINGS):
        with moved(layer, step * gradient):
            enough = agreement(model) >= ENOUGH
        low, high = (step, high) if enough else (low, step)
        step = (low + high) / 2
    return low
