"""When has LAF forgotten enough? Two rules that read no labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import UnlabelledImages
from unlabeled.forgetting.training.vae import EmbeddingVAE

LIMIT = 512
"""Forget (and unseen) images a rule looks at."""


class UnseenError:
    """Stop once h, the VAE of the training set, rebuilds forget embeddings as badly as those of unseen images.

    The forget images were met in training, so the original rebuilds them better than images it never met. A model
    that never met them would not: the rule stops where that advantage is gone, and not beyond (``quantile`` 0.5: the
    median error). It is meant for forget images that have their like among the retain images. A whole class is
    another matter: a retrained model gives images of it a place among the retained classes, where they are rebuilt
    nearly as well as those, so that no error tells when the class is gone; see :class:`OwnAnswers`.

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
        unseen = data.need_unseen("stop=unseen")
        self._vae, self._device = vae, device
        self._forget = _sample(data.forget, seed)
        self.target = float(vae.error(embed_all(model, _sample(unseen, seed), device)).quantile(quantile))

    def __call__(self, model: Classifier) -> bool:
        """Whether the median error of the forget images has reached that of unseen ones."""
        error = self._vae.error(embed_all(model, self._forget, self._device)).median()
        return bool(error >= self.target)


class OwnAnswers:
    """Stop once hardly any forget image gets an answer that belongs to the forget set.

    An answer (a class, as the original's head names it) belongs to the forget set if the original gives it to more
    images to forget than retain images. A model that never met such a class gives it to nobody. Answers are not
    labels: the rule asks the model alone.

    Args:
        model: the original; needs a head.
        retain, forget: its embeddings of retain images and of those to forget.
        weight: how many retain images each row of ``retain`` stands for.
        data: the images.
        share: at most this share of the forget images may still get such an answer.

    Raises:
        UserError: no answer belongs to the forget set, as when it is a random part of every class.
    """

    def __init__(
        self,
        model: Classifier,
        retain: Tensor,
        forget: Tensor,
        weight: float,
        data: ForgetData,
        device: torch.device | str,
        seed: int,
        share: float,
    ) -> None:
        model.need_head("stop=answers")
        outputs = [apply_head(model, embeddings) for embeddings in (retain, forget)]
        classes = torch.arange(outputs[0].shape[1], device=outputs[0].device)
        # bincount would wait for the device to learn the largest class
        counts = [(logits.argmax(1)[:, None] == classes).sum(0) for logits in outputs]
        self.own = counts[1] > weight * counts[0]
        if not bool(self.own.any()):
            raise UserError(
                "stop=answers waits for a class to go, but the images to forget make up none; use stop=unseen."
            )
        self._forget, self._device, self._share = _sample(data.forget, seed), device, share

    def __call__(self, model: Classifier) -> bool:
        """Whether at most ``share`` of the forget images get an answer of their own."""
        answers = apply_head(model, embed_all(model, self._forget, self._device)).argmax(1)
        return bool(self.own[answers].float().mean() <= self._share)


def _sample(images: UnlabelledImages, seed: int) -> UnlabelledImages:
    order = rng.numpy_generator("forgetting", "stopping", seed).permutation(len(images))[:LIMIT]
    return images.subset(np.sort(order).astype(np.int64))
