"""Segmentation by frozen tokens: a bank of labelled patches, a reader of it, masks of any size, one streamed pass."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError
from unlabeled.core.rng import numpy_generator
from unlabeled.evaluation.dense.maps import at_size, maps
from unlabeled.evaluation.dense.masks import MaskedImages
from unlabeled.evaluation.dense.score import Confusion
from unlabeled.probes.base import Probe
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.search import search

BANK_BYTES = 1 << 29
"""Of the patch tokens that are kept; of larger data sets so many are drawn from each image."""


@dataclass(frozen=True)
class Patches:
    """Labelled patch tokens: features (T, D) float16, and of each patch the share of each class (T, C) float16."""

    features: Tensor
    shares: Tensor

    @property
    def classes(self) -> int:
        """C."""
        return int(self.shares.shape[1])


def class_shares(mask: Tensor, classes: int, height: int, width: int) -> Tensor:
    """(h, w, C) share of each class in each of ``height`` x ``width`` patches of a mask (H, W); void (-1) has none.

    >>> class_shares(torch.tensor([[0, 0, 1, 1], [0, -1, 1, 0]]), 2, 1, 2)[0].tolist()
    [[1.0, 0.0], [0.25, 0.75]]
    """
    known = F.one_hot(mask.clamp_min(0), classes).float() * (mask >= 0).unsqueeze(2)
    shares = F.adaptive_avg_pool2d(known.permute(2, 0, 1).unsqueeze(0), (height, width))[0].permute(1, 2, 0)
    return shares / shares.sum(2, keepdim=True).clamp_min(1e-12)


def collect(
    backbone: Backbone, images: MaskedImages, classes: int, *, max_bytes: int = BANK_BYTES, seed: int = 0
) -> Patches:
    """One pass over images: their patch tokens with the classes of the pixels below.

    Args:
        backbone: with spatial features.
        images: pictures and masks.
        classes: how many there are; masks hold 0 to C - 1, and void.
        max_bytes: of the features kept; each image gives the same number of patches, drawn by ``seed``.
        seed: of that draw.

    Raises:
        UserError: a mask with other classes, a backbone without spatial features.
    """
    backbone = at_size(backbone, images.height, images.width)
    features, shares, position = [], [], 0
    for pictures, masks in images.batches():
        for batch in maps(backbone, pictures, len(pictures)):
            _, dim, height, width = batch.shape
            kept = min(height * width, max(1, max_bytes // (2 * dim * len(images))))
            for tokens, mask in zip(batch, masks, strict=True):
                check_classes(mask, classes)
                known = class_shares(mask, classes, height, width).flatten(0, 1)
                drawn = numpy_generator(seed, "patches", position).permutation(height * width)[:kept]
                rows = torch.from_numpy(np.sort(drawn))
                rows = rows[known[rows].sum(1) > 0]
                features.append(tokens.flatten(1).T.cpu()[rows].half())
                shares.append(known[rows].half())
                position += 1
    return Patches(torch.cat(features), torch.cat(shares))


def check_classes(mask: Tensor, classes: int) -> None:
    """Refuse a mask with class numbers outside 0 to ``classes`` - 1.

    Raises:
        UserError: there is one.
    """
    if int(mask.max()) >= classes:
        raise UserError(f"a mask holds class {int(mask.max())}, and there are {classes} classes; name void or more.")


class Reader(Protocol):
    """What says the class of patches."""

    @abstractmethod
    def read(self, tokens: Tensor) -> Tensor:
        """(T, D) tokens to (T, C) scores."""


class ByProbe:
    """Any probe, fitted on the commonest class of each patch: ``KNNProbe`` or ``LogisticProbe``."""

    def __init__(self, probe: Any, patches: Patches) -> None:
        self.probe: Probe = probe.fit(patches.features, patches.shares.float().argmax(1))
        self.classes = patches.classes

    def read(self, tokens: Tensor) -> Tensor:
        """Scores of the classes; those that no patch showed come last."""
        out = torch.full((len(tokens), self.classes), -1e4)
        out[:, torch.as_tensor(self.probe.classes_)] = self.probe.scores(tokens).cpu()
        return out


class InContext:
    """Attention over the nearest labelled patches, their class shares as values (Balažević et al. 2023, Sec. 3.3).

    Args:
        patches: the memory.
        k: neighbours that are attended to.
        temperature: of the softmax over cosine similarities.
    """

    def __init__(self, patches: Patches, k: int = 30, temperature: float = 0.02) -> None:
        self.patches, self.k, self.temperature = patches, min(k, len(patches.features)), temperature

    def read(self, tokens: Tensor) -> Tensor:
        """Mixed shares of the classes."""
        found = search(self.patches.features, tokens.cpu(), self.k)
        weight = (found.similarity / self.temperature).softmax(1)
        return (weight.unsqueeze(2) * self.patches.shares[found.index].float()).sum(1)


READERS: dict[str, Any] = {
    "knn": lambda patches: ByProbe(KNNProbe(k=20), patches),
    "linear": lambda patches: ByProbe(LogisticProbe(penalty=1e-4), patches),
    "in_context": InContext,
}
"""Ways to segment, by name."""


def predict(reader: Reader, feature_maps: Tensor, masks: list[Tensor]) -> list[Tensor]:
    """Class numbers (H, W) at the size of each mask: scores of patches, interpolated bilinearly, then the largest."""
    count, _, height, width = feature_maps.shape
    scores = reader.read(feature_maps.permute(0, 2, 3, 1).flatten(0, 2)).float()
    scores = scores.reshape(count, height, width, -1).permute(0, 3, 1, 2)
    return [
        F.interpolate(one.unsqueeze(0), tuple(mask.shape), mode="bilinear", align_corners=False)[0].argmax(0)
        for one, mask in zip(scores, masks, strict=True)
    ]


def segment(backbone: Backbone, reader: Reader, images: MaskedImages, classes: int) -> list[Confusion]:
    """Segment images a batch at a time: the confusion of each, in their order (add them for the whole)."""
    backbone = at_size(backbone, images.height, images.width)
    found = []
    for pictures, masks in images.batches():
        for batch in maps(backbone, pictures, len(pictures)):
            for mask, answer in zip(masks, predict(reader, batch.cpu(), masks), strict=True):
                check_classes(mask, classes)
                found.append(Confusion.of(answer, mask, classes))
    return found
