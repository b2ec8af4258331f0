"""Random label: teach wrong labels for the forget set and the right ones for the rest (Golatkar et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.methods.paired import train_paired, wrong_labels


class RandomLabelConfig(TrainConfig):
    """Cross-entropy on retain batches and on wrongly labelled forget batches."""

    epochs: int = 1


class RandomLabel(Forgetter):
    """A wrong label, drawn once, for each image to forget."""

    name = "random_label"
    Config = RandomLabelConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: RandomLabelConfig | None = None) -> None:
        self.config: RandomLabelConfig = config or RandomLabelConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        return relabel_and_train(model, data, self.config, seed, device, checkpoint, self.name)


def relabel_and_train(
    model: Classifier,
    data: ForgetData,
    config: TrainConfig,
    seed: int,
    device: torch.device | str,
    checkpoint: Checkpoint,
    name: str,
    mask: dict[str, Tensor] | None = None,
) -> Classifier:
    """Train on retain images and wrongly labelled forget images; only where ``mask`` (if any) is 1."""
    retain, forget = need_labels(data.retain, name), need_labels(data.forget, name)
    classes = model.last_linear(name).out_features
    wrong = wrong_labels(forget.labels, classes, rng.numpy_generator("forgetting", name, seed))
    relabelled = forget.relabelled(wrong)

    def loss(keep: Rows, leave: Rows) -> Tensor:
        kept, labels = retain.labelled(keep, device)
        left, lies = relabelled.labelled(leave, device)
        logits = model(torch.cat([kept, left]))
        return F.cross_entropy(logits[: len(kept)], labels) + F.cross_entropy(logits[len(kept) :], lies)

    stage = name.replace("_", "-")
    train_paired(model, data, config, loss, seed=seed, stage=stage, checkpoint=checkpoint, mask=mask)
    return model
