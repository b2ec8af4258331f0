"""SCRUB: a student that obeys the teacher on the retain set and disobeys on the forget set (Kurmanji et al. 2023)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.epochs import Epoch, adam, descend, mean_loss, run_epochs
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.distil import divergence


class ScrubConfig(TrainConfig):
    """``max_epochs`` epochs begin with a pass that maximises the divergence on the forget set."""

    tunes = (("max_lr", 2e-6, 2e-3),)

    epochs: int = Field(default=3, ge=1)
    max_epochs: int = Field(default=2, ge=1, description="epochs with a maximising pass")
    max_lr: float = Field(default=2e-5, gt=0, description="learning rate of the maximising passes")
    max_batch_size: int = Field(default=128, ge=1)
    alpha: float = Field(default=0.1, ge=0, description="weight of the divergence on the retain set")
    gamma: float = Field(default=1.0, ge=0, description="weight of cross-entropy on the retain set")
    temperature: float = Field(default=4.0, gt=0)


class Scrub(Forgetter[ScrubConfig]):
    """Alternate max-steps on the forget set and min-steps on the retain set; end with min-steps."""

    name = "scrub"
    does = "away from the original on forget images, towards it on retain images"
    Config = ScrubConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[ScrubConfig]) -> Classifier:
        c, retain = frame.config, need_labels(data.retain, self.name)
        teacher = model.copy().eval().requires_grad_(False)
        down, up = adam(model.parameters(), c.lr, c.weight_decay), adam(model.parameters(), c.max_lr)

        def epoch(number: int) -> Epoch:
            model.train()
            if number < c.max_epochs:
                for images in data.forget.batches(c.max_batch_size, frame.device, frame.key("scrub", number, "forget")):
                    descend(-divergence(model(images), teacher(images), c.temperature), up)
            losses: list[Tensor] = []
            key = frame.key("scrub", number, "retain")
            for images, labels in retain.labelled_batches(c.batch_size, frame.device, key, drop_last=True):
                logits = model(images)
                loss = c.gamma * F.cross_entropy(logits, labels)
                loss = loss + c.alpha * divergence(logits, teacher(images), c.temperature)
                losses.append(descend(loss, down))
            return Epoch(mean_loss(losses))

        run_epochs("scrub", c.epochs, {"model": model, "down": down, "up": up}, epoch, frame.checkpoint)
        return model
