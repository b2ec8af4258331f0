"""Embeddings and outputs of whole sets of images."""

from __future__ import annotations

import torch
from torch import Tensor

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.images import UnlabelledImages


@torch.no_grad()
def embed_all(
    model: Classifier, images: UnlabelledImages, device: torch.device | str = "cpu", batch_size: int = 256
) -> Tensor:
    """Embeddings ``(N, D)`` of all images, in order, in eval mode; the model's mode is restored."""
    mode = model.training
    model.eval()
    parts = [model.embed(batch) for batch in images.batches(batch_size, device)]
    model.train(mode)
    return torch.cat(parts)


@torch.no_grad()
def apply_head(model: Classifier, embeddings: Tensor, batch_size: int = 8192) -> Tensor:
    """Logits ``(N, K)`` of ``(N, D)`` embeddings; the embeddings themselves if there is no head."""
    if model.head is None:
        return embeddings
    mode = model.training
    model.eval()
    parts = [model.head(part) for part in torch.split(embeddings, batch_size)]
    model.train(mode)
    return torch.cat(parts)
