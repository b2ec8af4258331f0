"""Wrong labels for what is to be forgotten, right ones for the rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, need_labels
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.stopping import rule_of


def relabel_and_train(
    model: Classifier,
    data: ForgetData,
    frame: Frame[TrainConfig],
    name: str,
    mask: dict[str, Tensor] | None = None,
) -> Classifier:
    """Each epoch one pass over the forget images with wrong labels, then one over the retain images with their own
    (the released code of SalUn); only where ``mask`` (if any) is 1 weights move.
    """
    retain, forget = need_labels(data.retain, name), need_labels(data.forget, name)
    classes = model.last_linear(name).out_features
    wrong = wrong_labels(forget.labels, classes, rng.numpy_generator("forgetting", name, frame.seed))
    relabelled = forget.relabelled(wrong)

    stage = name.replace("_", "-")

    def losses(number: int) -> Iterator[Tensor]:
        for images, part in ((relabelled, "forget"), (retain, "retain")):
            key = frame.key(stage, number, part)
            for batch, labels in images.labelled_batches(frame.config.batch_size, frame.device, key):
                yield F.cross_entropy(model(batch), labels)

    optimiser = adam_within(model, frame.config, mask)
    rule = rule_of(model, data, frame)
    train_epochs(stage, frame.config.epochs, model, optimiser, losses, frame.checkpoint, rule=rule)
    return model


def wrong_labels(labels: Tensor, classes: int, generator: np.random.Generator) -> Tensor:
    """For each label another one of the ``classes``, uniformly."""
    shift = torch.from_numpy(generator.integers(1, max(classes, 2), len(labels)))
    return (labels + shift) % classes


def adam_within(model: Classifier, config: TrainConfig, mask: dict[str, Tensor] | None) -> torch.optim.Adam:
    """Adam that moves a parameter only where its 0/1 ``mask`` is 1."""
    masked = [] if mask is None else [(parameter, mask[name]) for name, parameter in model.named_parameters()]
    # Adam adds weight decay to the gradient after the hook, where no mask can hold it.
    optimiser = adam(model.parameters(), config.lr, config.weight_decay if mask is None else 0.0)

    @torch.no_grad()
    def hold(*_: object) -> None:
        for parameter, allowed in masked:
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=config.weight_decay).mul_(allowed)

    optimiser.register_step_pre_hook(hold)
    return optimiser
