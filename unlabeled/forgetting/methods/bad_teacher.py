"""Teachers that know nothing: bad teacher (Chundawat et al., AAAI 2023) and stochastic teacher (Zhang et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig
from unlabeled.forgetting.epochs import Checkpoint, adam, train_epochs
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.methods.paired import train_paired
from unlabeled.forgetting.methods.scrub import divergence


def _share(images: UnlabelledImages, share: float, seed: int) -> UnlabelledImages:
    """A fixed random ``share`` of ``images``, at least one."""
    order = rng.numpy_generator("forgetting", "share", seed).permutation(len(images))
    return images.subset(np.sort(order[: max(1, round(share * len(images)))]).astype(np.int64))


class BadTeacherConfig(TrainConfig):
    """Distil from the original on retain images and from an untrained network on forget images."""

    epochs: int = Field(default=1, ge=1)
    retain_share: float = Field(default=0.3, gt=0, le=1, description="share of the retain set that is used")
    temperature: float = Field(default=1.0, gt=0)


class BadTeacher(Forgetter):
    """A competent and an incompetent teacher at once; reads no labels."""

    name = "bad_teacher"
    Config = BadTeacherConfig
    needs_head = True

    def __init__(self, config: BadTeacherConfig | None = None) -> None:
        self.config: BadTeacherConfig = config or BadTeacherConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        c = self.config
        good = model.copy().eval().requires_grad_(False)
        bad = reinitialised(model, "bad_teacher", seed).eval().requires_grad_(False)
        retain = _share(data.retain, c.retain_share, seed)

        def loss(keep: Rows, leave: Rows) -> Tensor:
            kept, left = retain.batch(keep, device), data.forget.batch(leave, device)
            logits = model(torch.cat([kept, left]))
            with torch.no_grad():
                target = torch.cat([good(kept), bad(left)])
            return divergence(logits, target, c.temperature)

        pair = ForgetData(retain, data.forget)
        train_paired(model, pair, c, loss, seed=seed, stage="bad-teacher", checkpoint=checkpoint)
        return model


class StochasticTeacherConfig(TrainConfig):
    """First erase with an untrained teacher, then rebuild with the original."""

    epochs: int = Field(default=1, ge=1, description="passes over the forget set that erase")
    rebuild_epochs: int = Field(default=1, ge=1, description="passes over the retain set that rebuild")
    temperature: float = Field(default=1.0, gt=0)


class StochasticTeacher(Forgetter):
    """Distil the forget set from random weights, then the retain set from the original; reads no labels."""

    name = "stochastic_teacher"
    Config = StochasticTeacherConfig
    needs_head = True

    def __init__(self, config: StochasticTeacherConfig | None = None) -> None:
        self.config: StochasticTeacherConfig = config or StochasticTeacherConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        c = self.config
        original = model.copy()
        random = reinitialised(model, "stochastic_teacher", seed)
        for stage, teacher, images, epochs in (
            ("stochastic-erase", random, data.forget, c.epochs),
            ("stochastic-rebuild", original, data.retain, c.rebuild_epochs),
        ):
            self._distil(model, teacher.eval().requires_grad_(False), images, stage, epochs, seed, device, checkpoint)
        return model

    def _distil(
        self,
        model: Classifier,
        teacher: Classifier,
        images: UnlabelledImages,
        stage: str,
        epochs: int,
        seed: int,
        device: torch.device | str,
        checkpoint: Checkpoint,
    ) -> None:
        c = self.config

        def losses(number: int) -> Iterator[Tensor]:
            for batch in images.batches(c.batch_size, device, ("forgetting", stage, seed, number)):
                yield divergence(model(batch), teacher(batch), c.temperature)

        train_epochs(stage, epochs, model, adam(model.parameters(), c.lr, c.weight_decay), losses, checkpoint)
