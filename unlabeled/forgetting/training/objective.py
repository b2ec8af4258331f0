"""The loss a model was trained with, and the loop that goes on with it: on the retain set, or on both sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from unlabeled.core.errors import UserError
from unlabeled.engine.recompute import statistics_stay
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, need_labels
from unlabeled.forgetting.epochs import Rule, adam, train_epochs
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.training.paired import walk_pairs
from unlabeled.forgetting.training.stopping import rule_of

Weights = Mapping[str, Tensor]
Batch = TypeVar("Batch")


def passing(network: nn.Module, part: str) -> AbstractContextManager[None]:
    """Around the pass of a batch of one part alone."""
    return statistics_stay(network) if part == "forget" else nullcontext()


class Objective:
    """A loss, and what takes the steps down it.

    Attributes:
        network: what is trained: the model, or what it was trained in.
        kept: the part of it that the model is made of.
        whole_batches: an incomplete last batch is left out, because the loss compares the images of a batch.
    """

    whole_batches = False

    def __init__(self, network: nn.Module, kept: nn.Module) -> None:
        self.network, self.kept = network, kept

    @property
    def encoder(self) -> nn.Module:
        """The part of it that embeds."""
        return self.kept.extractor if isinstance(self.kept, Classifier) else self.kept

    def loss(self, images: UnlabelledImages, rows: Rows, part: str, weights: Weights | None = None) -> Tensor:
        """The mean loss of the images at ``rows``.

        Args:
            part: ``"retain"`` or ``"forget"``, which leave no trace in BatchNorm's running statistics.
            weights: stand in for the network's own, by their names.
        """
        raise NotImplementedError

    def losses(self, data: ForgetData, retain_rows: Rows, forget_rows: Rows) -> tuple[Tensor, Tensor]:
        """The loss of retain images, and that of forget images."""
        # the forget images first: what a loss remembers of its last batch (the keys of a queue) is of the retain set
        forget = self.loss(data.forget, forget_rows, "forget")
        return self.loss(data.retain, retain_rows, "retain"), forget

    def model(self) -> Classifier:
        """The model, as trained by now."""
        raise NotImplementedError

    def before_step(self, number: int, planned: int) -> None:
        """Called before the losses of a step; ``planned``: steps in all."""

    def after_backward(self) -> None:
        """Called between backward and the optimiser."""

    def after_step(self) -> None:
        """Called after the optimiser."""


class CrossEntropy(Objective):
    """The loss of a classifier with labels."""

    def __init__(self, model: Classifier, device: torch.device | str) -> None:
        super().__init__(model, model)
        self._model, self.device = model, device

    def loss(self, images: UnlabelledImages, rows: Rows, part: str, weights: Weights | None = None) -> Tensor:
        batch, labels = need_labels(images, "cross-entropy").labelled(rows, self.device)
        with passing(self._model, part):
            return F.cross_entropy(functional_call(self._model, dict(weights or {}), (batch,)), labels)

    def losses(self, data: ForgetData, retain_rows: Rows, forget_rows: Rows) -> tuple[Tensor, Tensor]:
        """Both sets pass the network together, so that BatchNorm sees them together."""
        known, labels = need_labels(data.retain, "cross-entropy").labelled(retain_rows, self.device)
        gone, unwanted = need_labels(data.forget, "cross-entropy").labelled(forget_rows, self.device)
        logits = self._model(torch.cat([known, gone]))
        down = F.cross_entropy(logits[: len(known)], labels)
        return down, F.cross_entropy(logits[len(known) :], unwanted)

    def model(self) -> Classifier:
        return self._model


def train_on(
    objective: Objective,
    frame: Frame[TrainConfig],
    stage: str,
    walk: Callable[[int], Iterable[Batch]],
    loss_of: Callable[[Batch, int], Tensor],
    rule: Rule | None = None,
) -> Classifier:
    """Train with an objective and Adam, one step for each batch; return the model in eval mode.

    Args:
        stage: names the work among the checkpoints.
        walk: from the number of an epoch to its batches, as many in each.
        loss_of: from a batch and the number of the epoch to the loss.
        rule: may stop the training.
    """
    config = frame.config

    def losses(number: int) -> Iterator[Tensor]:
        batches = list(walk(number))
        for place, batch in enumerate(batches):
            objective.before_step(number * len(batches) + place, config.epochs * len(batches))
            yield loss_of(batch, number)
            objective.after_step()

    optimiser = adam(objective.network.parameters(), config.lr, config.weight_decay)
    optimiser.register_step_pre_hook(lambda *_: objective.after_backward())
    train_epochs(stage, config.epochs, objective.network, optimiser, losses, frame.checkpoint, rule=rule)
    return objective.model().eval()


def train_on_retain(
    objective: Objective,
    images: UnlabelledImages,
    frame: Frame[TrainConfig],
    stage: str,
    *,
    l1: tuple[float, int] = (0.0, 1),
) -> Classifier:
    """Go on training on the retain images.

    Args:
        l1: weight γ of an L1 penalty on the model's parameters and the number of epochs over which γ falls to 0.
    """

    def walk(number: int) -> Iterable[Rows]:
        return images.positions(frame.config.batch_size, frame.key(stage, number), drop_last=True)

    def loss_of(rows: Rows, number: int) -> Tensor:
        loss = objective.loss(images, rows, "retain")
        if weight := l1[0] * max(0.0, 1 - number / l1[1]):
            loss = loss + weight * torch.stack([p.abs().sum() for p in objective.kept.parameters()]).sum()
        return loss

    return train_on(objective, frame, stage, walk, loss_of)


def train_on_both(
    objective: Objective,
    data: ForgetData,
    frame: Frame[TrainConfig],
    stage: str,
    loss_of: Callable[[Rows, Rows], Tensor],
) -> Classifier:
    """Train on pairs of a retain and a forget batch.

    Args:
        loss_of: from positions in the retain set and in the forget set to the loss, computed with ``objective``.
    """

    def walk(number: int) -> Iterable[tuple[Rows, Rows]]:
        key = frame.key(stage, number)
        return walk_pairs(data.retain, data.forget, frame.config.batch_size, key, drop_last=objective.whole_batches)

    rule = rule_of(objective.network, data, frame) if isinstance(objective.network, Classifier) else None
    if rule is None and (stop := getattr(frame.config, "stop", "never")) != "never":
        raise UserError(f"stop={stop}: a model that goes on with its own loss cannot stop by itself; use stop=never.")
    return train_on(objective, frame, stage, walk, lambda rows, _: loss_of(*rows), rule)
