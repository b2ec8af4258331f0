"""Head-only: the control that forgets nothing. The extractor stays as it is, only the head is trained again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.epochs import Checkpoint, adam, train_epochs


def fit_head(
    head: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    stage: str,
    checkpoint: Checkpoint,
) -> None:
    """Train ``head`` in place with cross-entropy on ``(N, D)`` embeddings."""

    def losses(number: int) -> Iterator[Tensor]:
        order = torch.randperm(len(embeddings), generator=rng.torch_generator("forgetting", stage, seed, number))
        for rows in torch.split(order.to(embeddings.device), batch_size):
            yield F.cross_entropy(head(embeddings[rows]), labels[rows])

    train_epochs(stage, epochs, head, adam(head.parameters(), lr), losses, checkpoint)
    head.eval()


class HeadOnlyConfig(TrainConfig):
    """How the new head is trained."""

    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=128, ge=1)
    lr: float = Field(default=1e-3, gt=0)


class HeadOnly(Forgetter):
    """A fresh head on the frozen extractor, trained on the retain set.

    It passes every black-box measure of class removal, while each embedding is bit for bit the original's.
    """

    name = "head_only"
    Config = HeadOnlyConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: HeadOnlyConfig | None = None) -> None:
        self.config: HeadOnlyConfig = config or HeadOnlyConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        c, retain = self.config, need_labels(data.retain, self.name)
        model.head = reinitialised(model, "head_only", seed).need_head(self.name)
        fit_head(
            model.head,
            embed_all(model, retain, device),
            retain.labels.to(device),
            epochs=c.epochs,
            lr=c.lr,
            batch_size=c.batch_size,
            seed=seed,
            stage="head-only",
            checkpoint=checkpoint,
        )
        return model
