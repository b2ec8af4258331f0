"""Cross-entropy: on the whole model, or on its head alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import prepared
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import ForgetterConfig, Frame, TrainConfig
from unlabeled.forgetting.images import LabelledImages


def train_classifier(
    model: Classifier,
    data: LabelledImages,
    frame: Frame[TrainConfig],
    stage: str = "train",
    *,
    l1: tuple[float, int] = (0.0, 1),
) -> Classifier:
    """Train a copy of ``model`` with cross-entropy and Adam; return it in eval mode.

    Args:
        stage: names the work among the checkpoints.
        l1: weight γ of an L1 penalty on all parameters and the number of epochs over which γ falls to 0.
    """
    config = frame.config
    trained = prepared(model, frame.device)

    def losses(number: int) -> Iterator[Tensor]:
        weight = l1[0] * max(0.0, 1 - number / l1[1])
        for images, labels in data.labelled_batches(
            config.batch_size, frame.device, frame.key(stage, number), drop_last=True
        ):
            loss = F.cross_entropy(trained(images), labels)
            if weight:
                loss = loss + weight * torch.stack([p.abs().sum() for p in trained.parameters()]).sum()
            yield loss

    optimiser = adam(trained.parameters(), config.lr, config.weight_decay)
    train_epochs(stage, config.epochs, trained, optimiser, losses, frame.checkpoint)
    return trained.eval()


def fit_head(
    head: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    frame: Frame[ForgetterConfig],
    stage: str,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
) -> None:
    """Train ``head`` in place with cross-entropy on ``(N, D)`` embeddings."""

    def losses(number: int) -> Iterator[Tensor]:
        order = torch.randperm(len(embeddings), generator=rng.torch_generator(*frame.key(stage, number)))
        for rows in torch.split(order.to(embeddings.device), batch_size):
            yield F.cross_entropy(head(embeddings[rows]), labels[rows])

    train_epochs(stage, epochs, head, adam(head.parameters(), lr), losses, frame.checkpoint)
    head.eval()
