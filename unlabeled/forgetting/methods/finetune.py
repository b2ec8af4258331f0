"""Fine-tune: go on training on the retain set and hope that the rest fades (Warnecke et al. 2021; Golatkar 2020)."""

from __future__ import annotations

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.supervised import train_classifier


class FineTuneConfig(TrainConfig):
    """Adam on cross-entropy over the retain set."""


class FineTune(Forgetter[FineTuneConfig]):
    """Continue training on the retain set alone."""

    name = "finetune"
    does = "goes on training without it"
    Config = FineTuneConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[FineTuneConfig]) -> Classifier:
        return train_classifier(model, need_labels(data.retain, self.name), frame, "finetune")
