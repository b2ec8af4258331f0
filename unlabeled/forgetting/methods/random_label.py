"""Random label: teach wrong labels for the forget set and the right ones for the rest (Golatkar et al. 2020)."""

from __future__ import annotations

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame, StoppingConfig
from unlabeled.forgetting.training.relabel import relabel_and_train


class RandomLabelConfig(StoppingConfig):
    """Cross-entropy on retain batches and on wrongly labelled forget batches."""

    epochs: int = 1


class RandomLabel(Forgetter[RandomLabelConfig]):
    """A wrong label, drawn once, for each image to forget."""

    name = "random_label"
    does = "wrong labels for what is to go"
    Config = RandomLabelConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[RandomLabelConfig]) -> Classifier:
        return relabel_and_train(model, data, frame, self.name)
