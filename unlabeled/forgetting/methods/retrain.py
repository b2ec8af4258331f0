"""Retrain: the gold standard, a model that never met the forget set."""

from __future__ import annotations

from pydantic import Field

from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.supervised import train_classifier


class RetrainConfig(TrainConfig):
    """Supervised training; the defaults are those of Shen et al. 2024 (Adam 1e-4, 20 epochs, batches of 32)."""

    tunes = ()

    epochs: int = Field(default=20, ge=1)
    weight_decay: float = Field(default=1e-4, ge=0)


class Retrain(Forgetter[RetrainConfig]):
    """Fresh weights, trained on the retain set alone."""

    name = "retrain"
    does = "the standard: trained anew without the forget images (always a row)"
    Config = RetrainConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[RetrainConfig]) -> Classifier:
        fresh = reinitialised(model, "retrain", frame.seed)
        return train_classifier(fresh, need_labels(data.retain, self.name), frame, "retrain")
