"""DUCK: drive forget embeddings to the nearest centroid of another class (Cotogni et al. 2023)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core.device import send, taken
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.frame import Frame, StoppingConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.paired import train_paired


class DuckConfig(StoppingConfig):
    """``lambda_forget * cosine distance to a wrong centroid + lambda_retain * CE(retain logits / T)``."""

    epochs: int = Field(default=2, ge=1)
    lambda_forget: float = Field(default=1.0, ge=0)
    lambda_retain: float = Field(default=1.4, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    target: float = Field(default=0.01, ge=0, le=1, description="stop after an epoch with this forget accuracy")


class Duck(Forgetter[DuckConfig]):
    """Nearest wrong class-mean centroids, assigned image by image with the original's embeddings."""

    name = "duck"
    does = "forget embeddings to the nearest wrong class mean"
    Config = DuckConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[DuckConfig]) -> Classifier:
        c, device = frame.config, frame.device
        retain, forget = need_labels(data.retain, self.name), need_labels(data.forget, self.name)
        centroids, classes = class_means(embed_all(model, retain, device), retain.labels)
        target = nearest_wrong(embed_all(model, forget, device), send(forget.labels, device), centroids, classes)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            known, labels = retain.labelled(retain_rows, device)
            embeddings = model.embed(torch.cat([known, forget.batch(forget_rows, device)]))
            goals = taken(target, forget_rows)
            away = (1 - F.cosine_similarity(embeddings[len(known) :], goals)).mean()
            logits = model.need_head(self.name)(embeddings[: len(known)])
            return c.lambda_forget * away + c.lambda_retain * F.cross_entropy(logits / c.temperature, labels)

        def forgotten() -> bool:
            logits = apply_head(model, embed_all(model, forget, device))
            return bool((logits.argmax(1) == send(forget.labels, device)).float().mean() <= c.target)

        train_paired(model, data, frame, "duck", loss, stop=forgotten)
        return model


def class_means(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean embedding ``(K, D)`` of each class present, and the ``(K,)`` labels they belong to.

    Args:
        embeddings: ``(N, D)``.
        labels: ``(N,)``, in the host's memory.
    """
    found, index = torch.unique(labels, return_inverse=True)
    classes, places, counts = (send(part, embeddings.device) for part in (found, index, index.bincount()))
    sums = embeddings.new_zeros(len(found), embeddings.shape[1]).index_add_(0, places, embeddings)
    return sums / counts[:, None], classes


def nearest_wrong(embeddings: Tensor, labels: Tensor, centroids: Tensor, classes: Tensor) -> Tensor:
    """For each ``(N, D)`` embedding the centroid, nearest by cosine, of a class other than its label: ``(N, D)``."""
    similarity = F.normalize(embeddings) @ F.normalize(centroids).T
    similarity.masked_fill_(labels[:, None] == classes[None], -torch.inf)
    return centroids[similarity.argmax(1)]
