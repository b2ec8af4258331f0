"""Teachers that know nothing: bad teacher (Chundawat et al., AAAI 2023) and stochastic teacher (Zhang et al. 2023).

Both papers teach a classifier's answers. Where there is no classifier the teachers teach their embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import Frame, StoppingConfig, TrainConfig
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.training.distil import mismatch
from unlabeled.forgetting.training.paired import train_paired


def _share(images: UnlabelledImages, share: float, seed: int) -> UnlabelledImages:
    """A fixed random ``share`` of ``images``, at least one."""
    order = rng.numpy_generator("forgetting", "share", seed).permutation(len(images))
    return images.subset(np.sort(order[: max(1, round(share * len(images)))]).astype(np.int64))


Teacher = Callable[[Tensor], Tensor]


def competent(model: Classifier) -> Teacher:
    """The original, as it is now."""
    return model.copy().eval().requires_grad_(False)


def incompetent(model: Classifier, forget: UnlabelledImages, frame: Frame[TrainConfig], name: str) -> Teacher:
    """An untrained copy of the original.

    Its embeddings, where those are taught, are stretched to the size of the original's (root mean square over the
    forget images): those of an untrained network have a size of their own, which by itself would tell what was taught.
    """
    bad = reinitialised(model, name, frame.seed).eval().requires_grad_(False)
    if model.head is not None:
        return bad
    sizes = [embed_all(each, forget, frame.device).square().mean().sqrt() for each in (model, bad)]
    stretch = sizes[0] / sizes[1].clamp_min(1e-12)
    return lambda images: stretch * bad(images)


class BadTeacherConfig(StoppingConfig):
    """Distil from the original on retain images and from an untrained network on forget images."""

    epochs: int = Field(default=1, ge=1)
    retain_share: float = Field(default=0.3, gt=0, le=1, description="share of the retain set that is used")
    temperature: float = Field(default=1.0, gt=0)


class BadTeacher(Forgetter[BadTeacherConfig]):
    """A competent and an incompetent teacher at once; reads no labels."""

    name = "bad_teacher"
    does = "learns from the original on retain images, from an untrained network on forget images"
    Config = BadTeacherConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[BadTeacherConfig]) -> Classifier:
        c = frame.config
        good, bad = competent(model), incompetent(model, data.forget, frame, self.name)
        retain = _share(data.retain, c.retain_share, frame.seed)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            known, gone = retain.batch(retain_rows, frame.device), data.forget.batch(forget_rows, frame.device)
            outputs = model(torch.cat([known, gone]))
            with torch.no_grad():
                target = torch.cat([good(known), bad(gone)])
            return mismatch(outputs, target, c.temperature, answers=model.head is not None)

        train_paired(model, replace(data, retain=retain), frame, "bad-teacher", loss)
        return model


class StochasticTeacherConfig(TrainConfig):
    """First erase with an untrained teacher, then rebuild with the original."""

    epochs: int = Field(default=1, ge=1, description="passes over the forget set that erase")
    rebuild_epochs: int = Field(default=1, ge=1, description="passes over the retain set that rebuild")
    temperature: float = Field(default=1.0, gt=0)


class StochasticTeacher(Forgetter[StochasticTeacherConfig]):
    """Distil the forget set from random weights, then the retain set from the original; reads no labels."""

    name = "stochastic_teacher"
    does = "an untrained teacher erases, the original rebuilds"
    Config = StochasticTeacherConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[StochasticTeacherConfig]) -> Classifier:
        c = frame.config
        original, random = competent(model), incompetent(model, data.forget, frame, self.name)
        for stage, teacher, images, epochs in (
            ("stochastic-erase", random, data.forget, c.epochs),
            ("stochastic-rebuild", original, data.retain, c.rebuild_epochs),
        ):
            _distil(model, teacher, images, frame, stage, epochs)
        return model


def _distil(
    model: Classifier,
    teacher: Teacher,
    images: UnlabelledImages,
    frame: Frame[StochasticTeacherConfig],
    stage: str,
    epochs: int,
) -> None:
    c = frame.config

    def losses(number: int) -> Iterator[Tensor]:
        for batch in images.batches(c.batch_size, frame.device, frame.key(stage, number)):
            yield mismatch(model(batch), teacher(batch), c.temperature, answers=model.head is not None)

    train_epochs(stage, epochs, model, adam(model.parameters(), c.lr, c.weight_decay), losses, frame.checkpoint)
