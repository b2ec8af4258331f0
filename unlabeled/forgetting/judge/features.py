"""What an attacker reads off embeddings: where they lie, and how alike the views of one image are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core.model_input import sized
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.images import UnlabelledImages
from unlabeled.forgetting.judge.attacks import Array
from unlabeled.probes.search import search

NEIGHBOURS = (1, 5, 20)
VIEWS = 6
AUGMENTATION = ViewSpec(
    count=VIEWS, crop="resized", scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, gray=0.2
)


def geometry(embeddings: Array | Tensor, bank: Array | Tensor) -> Array:
    """``(N, 2 + 2·3)`` features that no linear attack has: norms, and distances to neighbours among known members.

    Args:
        embeddings: ``(N, D)`` of images in question.
        bank: ``(M, D)`` of images that the model was trained on, others than those in question.

    Returns:
        Log norm, largest entry over the norm, then log distance and cosine of the 1st, 5th and 20th nearest of the bank
        (the farthest where the bank is smaller).
    """
    x, members = (torch.as_tensor(z).double() for z in (embeddings, bank))
    norm = x.norm(dim=1).clamp_min(1e-12)
    columns = [norm.log(), x.abs().amax(1) / norm]
    k = min(max(NEIGHBOURS), len(members))
    near, like = (search(members, x, k, metric=metric).similarity.double() for metric in ("euclidean", "cosine"))
    for nth in NEIGHBOURS:
        columns.append((-near[:, min(nth, k) - 1]).clamp_min(1e-12).sqrt().log())
        columns.append(like[:, min(nth, k) - 1])
    return np.asarray(torch.stack(columns, 1).numpy())


def view_similarities(views: Tensor) -> Array:
    """``(N, V(V-1)/2)`` cosines between the embeddings ``(V, N, D)`` of each image's views, the largest first.

    A contrastive encoder draws views of its training images closer than those of others (EncoderMI: Liu et al., CCS
    2021, section 4.2; sorted, for a set of views has no order).

    >>> view_similarities(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 2.0]]]))
    array([[1., 0., 0.]])
    """
    unit = F.normalize(views.double(), dim=2)
    first, second = torch.triu_indices(len(unit), len(unit), 1)
    return np.asarray((unit[first] * unit[second]).sum(2).T.sort(1, descending=True).values.numpy())


@torch.no_grad()
def embedded_views(
    model: Classifier, images: UnlabelledImages, device: torch.device | str = "cpu", *, seed: int = 0, batch: int = 256
) -> Tensor:
    """``(V, N, D)`` embeddings of :data:`VIEWS` random views of each image: crops, flips, brightness, gray.

    The views are a function of the seed and the image's position alone, so that models are compared on the same ones.
    """
    draw = Views([AUGMENTATION], images.preprocess.mean, images.preprocess.std)
    parts = []
    for number, positions in enumerate(images.positions(batch)):
        stored = sized(images.pixels(positions, device), images.preprocess.size, images.preprocess.channels)
        views = draw(stored, key=("encoder attack", seed, number))
        parts.append(torch.stack([model.embed(view).cpu() for view in views]))
    return torch.cat(parts, 1)
