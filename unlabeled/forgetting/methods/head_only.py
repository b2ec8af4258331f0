"""Head-only: the control that forgets nothing. The extractor stays as it is, only the head is trained again."""

from __future__ import annotations

from pydantic import Field

from unlabeled.core.device import send
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.supervised import fit_head


class HeadOnlyConfig(TrainConfig):
    """How the new head is trained."""

    tunes = ()

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=128, ge=1)
    lr: float = Field(default=1e-3, gt=0)


class HeadOnly(Forgetter[HeadOnlyConfig]):
    """A fresh head on the frozen extractor, trained on the retain set.

    It passes every black-box measure of class removal, while each embedding is bit for bit the original's.
    """

    name = "head_only"
    does = "the control: a new classifier, the encoder untouched (always a row)"
    Config = HeadOnlyConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[HeadOnlyConfig]) -> Classifier:
        c, retain = frame.config, need_labels(data.retain, self.name)
        model.head = reinitialised(model, "head_only", frame.seed).need_head(self.name)
        embeddings, labels = embed_all(model, retain, frame.device), send(retain.labels, frame.device)
        fit_head(model.head, embeddings, labels, frame, "head-only", epochs=c.epochs, lr=c.lr, batch_size=c.batch_size)
        return model
