"""Fine-tune: go on training on the retain set and hope that the rest fades (Warnecke et al. 2021; Golatkar 2020)."""

from __future__ import annotations

import torch

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.methods.retrain import train_classifier


class FineTuneConfig(TrainConfig):
    """Adam on cross-entropy over the retain set."""


class FineTune(Forgetter):
    """Continue training on the retain set alone."""

    name = "finetune"
    Config = FineTuneConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: FineTuneConfig | None = None) -> None:
        self.config: FineTuneConfig = config or FineTuneConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        retain = need_labels(data.retain, self.name)
        return train_classifier(
            model, retain, self.config, seed=seed, device=device, checkpoint=checkpoint, stage="finetune"
        )
