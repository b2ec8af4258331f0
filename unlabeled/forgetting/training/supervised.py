"""Cross-entropy: on the whole model, or on its head alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.core.device import send
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import prepared
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import ForgetterConfig, Frame, TrainConfig
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.training.objective import CrossEntropy, train_on_retain


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
    return train_on_retain(CrossEntropy(prepared(model, frame.device), frame.device), data, frame, stage, l1=l1)


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
        for rows in torch.split(send(order, embeddings.device), batch_size):
            yield F.cross_entropy(head(embeddings[rows]), labels[rows])

    train_epochs(stage, epochs, head, adam(head.parameters(), lr), losses, frame.checkpoint)
    head.eval()
