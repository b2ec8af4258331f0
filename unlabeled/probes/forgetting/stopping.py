"""When has LAF forgotten enough? A rule that reads no labels."""

from __future__ import annotations

import numpy as np
import torch

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.probes.forgetting.classifier import Classifier
from unlabeled.probes.forgetting.embed import embed_all
from unlabeled.probes.forgetting.forgetter import ForgetData
from unlabeled.probes.forgetting.images import UnlabelledImages
from unlabeled.probes.forgetting.vae import EmbeddingVAE

LIMIT = 512


class UnseenError:
    """Stop once h, the VAE of the training set, rebuilds forget embeddings as badly as those of unseen images.

    The forget images were met in training, so the original rebuilds them better than images it never met. A model
    that never met them would not: the rule stops where that advantage is gone, and not beyond. For images like the
    unseen ones that is the median error (``quantile`` 0.5); a whole class that a retrained model would find strange
    calls for a higher quantile.

    Args:
        model: the original.
        vae: h.
        data: must hold ``unseen`` images, like those to forget but never trained on.

    Raises:
        UserError: there are no unseen images.
    """

    def __init__(
        self,
        model: Classifier,
        vae: EmbeddingVAE,
        data: ForgetData,
        device: torch.device | str,
        seed: int,
        quantile: float = 0.5,
    ) -> None:
        if data.unseen is None or len(data.unseen) == 0:
            raise UserError("stop=unseen needs images the model never met: give unseen images, or use stop=never.")
        self._vae, self._device = vae, device
        self._forget = _sample(data.forget, seed)
        self.target = float(vae.error(embed_all(model, _sample(data.unseen, seed), device)).quantile(quantile))

    def __call__(self, model: Classifier) -> bool:
        """Whether the median error of the forget images has reached that of unseen ones."""
        error = self._vae.error(embed_all(model, self._forget, self._device)).median()
        return bool(error >= self.target)


def _sample(images: UnlabelledImages, seed: int) -> UnlabelledImages:
    order = rng.numpy_generator("forgetting", "stopping", seed).permutation(len(images))[:LIMIT]
    return images.subset(np.sort(order).astype(np.int64))
