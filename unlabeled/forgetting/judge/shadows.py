"""Shadow models: trained like the one under attack, on random halves of its data, and shared by every attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import LabelledImages, Rows, UnlabelledImages
from unlabeled.forgetting.judge.attacks import Array
from unlabeled.forgetting.judge.lira import log_odds, memorisation


def halves(count: int, models: int, seed: int = 0) -> list[Rows]:
    """The rows each shadow model is trained on: random halves and what they leave, so that every row is in half of all.

    Args:
        count: rows there are.
        models: shadow models, an even number.

    Raises:
        UserError: an odd number of models, or fewer than four.

    >>> [half.tolist() for half in halves(4, 4)]
    [[0, 2], [1, 3], [1, 3], [0, 2]]
    """
    if models < 4 or models % 2:
        raise UserError(f"shadow models come in pairs, at least two of them: want an even number from 4, not {models}.")
    drawn: list[Rows] = []
    for pair in range(models // 2):
        order = rng.numpy_generator("shadows", seed, pair).permutation(count)
        drawn += [np.sort(part).astype(np.int64) for part in (order[: count // 2], order[count // 2 :])]
    return drawn


class Shadows:
    """Trained shadow models, and which images each of them saw.

    Args:
        models: the models.
        seen: the images each was trained on.
    """

    def __init__(self, models: Sequence[Classifier], seen: Sequence[UnlabelledImages]) -> None:
        self.models, self._seen = list(models), [(images.store, images.rows) for images in seen]
        self._odds: dict[str, Array] = {}

    @classmethod
    def trained(
        cls, pool: LabelledImages, models: int, train: Callable[[int, LabelledImages], Classifier], seed: int = 0
    ) -> Shadows:
        """Train (or read) each model on its half of ``pool``.

        Args:
            train: from a model's number and images to the model; what keeps it, and resumes it, is its business.
        """
        seen = [pool.subset(half) for half in halves(len(pool), models, seed)]
        return cls([train(number, images) for number, images in enumerate(seen)], seen)

    def __len__(self) -> int:
        return len(self.models)

    def fingerprints(self) -> list[str]:
        """Of every model: what a figure that was measured with them depends on."""
        return [fingerprint(model) for model in self.models]

    def inside(self, images: UnlabelledImages) -> Array:
        """``(S, N)`` whether each model was trained on each image; images of another store were seen by none."""
        return np.stack([np.isin(images.rows, rows) & (store == images.store) for store, rows in self._seen])

    def log_odds(self, images: LabelledImages, device: torch.device | str = "cpu") -> Array:
        """``(S, N)`` :func:`~unlabeled.forgetting.judge.lira.log_odds` of each model; once for the same images."""
        if images.fingerprint not in self._odds:
            outputs = (apply_head(model, embed_all(model, images, device).cpu()) for model in self.models)
            self._odds[images.fingerprint] = np.stack([log_odds(logits, images.labels) for logits in outputs])
        return self._odds[images.fingerprint]

    def memorisation(self, images: LabelledImages, device: torch.device | str = "cpu") -> Array:
        """``(N,)`` :func:`~unlabeled.forgetting.judge.lira.memorisation` of images of the pool."""
        return memorisation(self.log_odds(images, device), self.inside(images))
