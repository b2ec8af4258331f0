"""Retrain: the gold standard, a model that never met the forget set."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels, prepared
from unlabeled.forgetting.epochs import Checkpoint, adam, train_epochs
from unlabeled.forgetting.images import LabelledImages


class RetrainConfig(TrainConfig):
    """Supervised training; the defaults are those of Shen et al. 2024 (Adam 1e-4, 20 epochs, batches of 32)."""

    epochs: int = Field(default=20, ge=1)
    weight_decay: float = Field(default=1e-4, ge=0)


def train_classifier(
    model: Classifier,
    data: LabelledImages,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    stage: str = "train",
    l1: tuple[float, int] = (0.0, 1),
) -> Classifier:
    """Train a copy of ``model`` with cross-entropy and Adam; return it in eval mode.

    Args:
        l1: weight γ of an L1 penalty on all parameters and the number of epochs over which γ falls to 0.
    """
    trained = prepared(model, device)

    def losses(number: int) -> Iterator[Tensor]:
        weight = l1[0] * max(0.0, 1 - number / l1[1])
        key = ("forgetting", stage, seed, number)
        for images, labels in data.labelled_batches(config.batch_size, device, key, drop_last=True):
            loss = F.cross_entropy(trained(images), labels)
            if weight:
                loss = loss + weight * torch.stack([p.abs().sum() for p in trained.parameters()]).sum()
            yield loss

    optimiser = adam(trained.parameters(), config.lr, config.weight_decay)
    train_epochs(stage, config.epochs, trained, optimiser, losses, checkpoint or Checkpoint())
    return trained.eval()


class Retrain(Forgetter):
    """Fresh weights, trained on the retain set alone."""

    name = "retrain"
    Config = RetrainConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: RetrainConfig | None = None) -> None:
        self.config: RetrainConfig = config or RetrainConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        fresh = reinitialised(model, "retrain", seed)
        retain = need_labels(data.retain, self.name)
        return train_classifier(
            fresh, retain, self.config, seed=seed, device=device, checkpoint=checkpoint, stage="retrain"
        )
