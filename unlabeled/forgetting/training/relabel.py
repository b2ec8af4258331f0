"""Wrong labels for what is to be forgotten, right ones for the rest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.paired import train_paired


def relabel_and_train(
    model: Classifier,
    data: ForgetData,
    frame: Frame[TrainConfig],
    name: str,
    mask: dict[str, Tensor] | None = None,
) -> Classifier:
    """Train on retain images and wrongly labelled forget images; only where ``mask`` (if any) is 1."""
    retain, forget = need_labels(data.retain, name), need_labels(data.forget, name)
    classes = model.last_linear(name).out_features
    wrong = wrong_labels(forget.labels, classes, rng.numpy_generator("forgetting", name, frame.seed))
    relabelled = forget.relabelled(wrong)

    def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
        known, labels = retain.labelled(retain_rows, frame.device)
        gone, lies = relabelled.labelled(forget_rows, frame.device)
        logits = model(torch.cat([known, gone]))
        return F.cross_entropy(logits[: len(known)], labels) + F.cross_entropy(logits[len(known) :], lies)

    train_paired(model, data, frame, name.replace("_", "-"), loss, mask=mask)
    return model


def wrong_labels(labels: Tensor, classes: int, generator: np.random.Generator) -> Tensor:
    """For each label another one of the ``classes``, uniformly."""
    shift = torch.from_numpy(generator.integers(1, max(classes, 2), len(labels)))
    return (labels + shift) % classes
