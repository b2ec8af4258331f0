"""Noise, then fine-tuning: erase by a random step in the weights, repair on what stays.

A pattern of the NeurIPS 2023 competition: Triantafillou et al., "Are we making progress in unlearning? Findings from
the first NeurIPS unlearning competition", 2024, https://arxiv.org/abs/2406.09073. Entries there repair with labels;
here the repair matches the embeddings of the original, so that it needs neither labels nor a classifier.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import rng
from unlabeled.core.device import send, taken
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.distil import embedding_error


@torch.no_grad()
def perturb(module: nn.Module, noise: float, generator: torch.Generator) -> None:
    """``θ ← θ + noise · rms(θ) · ε`` with ``ε ~ N(0, 1)``, each tensor by its own root mean square."""
    for weights in module.parameters():
        epsilon = send(torch.randn(weights.shape, generator=generator, dtype=weights.dtype), weights.device)
        weights.add_(noise * weights.square().mean().sqrt() * epsilon)


class NoiseFineTuneConfig(TrainConfig):
    """How much noise, and how long the repair."""

    tunes = (("noise", 0.03, 1.0),)

    lr: float = Field(default=1e-3, gt=0, description="Adam's learning rate")
    noise: float = Field(
        default=0.3, gt=0, description="standard deviation, in units of each weight tensor's root mean square"
    )


class NoiseFineTune(Forgetter[NoiseFineTuneConfig]):
    """Gaussian noise on the extractor, then retain embeddings back to the original's.

    The forget images are never looked at: what the repair on other images does not bring back is forgotten. A
    classifier stays as it is, for it reads the embeddings that are repaired.
    """

    name = "noise_finetune"
    does = "noise on all weights, then retain embeddings back to what they were"
    Config = NoiseFineTuneConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[NoiseFineTuneConfig]) -> Classifier:
        c, retain = frame.config, data.retain
        before = embed_all(model, retain, frame.device)
        perturb(model.extractor, c.noise, rng.torch_generator(*frame.key("noise")))

        def losses(number: int) -> Iterator[Tensor]:
            for rows in retain.positions(c.batch_size, frame.key("noise-repair", number), drop_last=True):
                yield embedding_error(model.embed(retain.batch(rows, frame.device)), taken(before, rows))

        optimiser = adam(model.extractor.parameters(), c.lr, c.weight_decay)
        train_epochs("noise-repair", c.epochs, model, optimiser, losses, frame.checkpoint)
        return model
