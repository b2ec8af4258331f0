"""Fine-tune: go on training on the retain set and hope that the rest fades (Warnecke et al. 2021; Golatkar 2020)."""

from __future__ import annotations

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.objective import train_on_retain
from unlabeled.forgetting.training.own import objective_of


class FineTuneConfig(TrainConfig):
    """Adam on the model's own loss over the retain set."""


class FineTune(Forgetter[FineTuneConfig]):
    """Continue training on the retain set alone."""

    name = "finetune"
    does = "goes on training without it"
    Config = FineTuneConfig
    needs_labels = True
    needs_head = True
    own_loss = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[FineTuneConfig]) -> Classifier:
        return train_on_retain(objective_of(self, model, data, frame), data.retain, frame, "finetune")
