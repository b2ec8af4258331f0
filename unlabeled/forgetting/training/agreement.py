"""Does a changed network still say of the retain images what the original says? Read without labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import UnlabelledImages

ENOUGH = 0.99
"""At least this agreement is left to the retain images by methods that choose how far they go."""
LOOKED_AT = 512


class Agreement:
    """The share of answers that stay, or, where there is no head, the mean cosine of embeddings to the original's.

    Args:
        original: the network as it is now.
        images: up to 512 of them are looked at.
        key: names the draw of these.
    """

    def __init__(
        self, original: Classifier, images: UnlabelledImages, device: torch.device | str, *key: int | str
    ) -> None:
        order = rng.numpy_generator(*key).permutation(len(images))[:LOOKED_AT]
        self._images, self._device = images.subset(np.sort(order).astype(np.int64)), device
        self._before = self._outputs(original)

    def _outputs(self, network: Classifier) -> Tensor:
        return apply_head(network, embed_all(network, self._images, self._device))

    def __call__(self, network: Classifier) -> float:
        """In [0, 1] for answers, in [-1, 1] for embeddings; NaN where the network has broken."""
        after = self._outputs(network)
        if network.head is None:
            return float(F.cosine_similarity(self._before, after).mean())
        return float((self._before.argmax(1) == after.argmax(1)).float().mean())
