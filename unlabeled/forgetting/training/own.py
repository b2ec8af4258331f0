"""Going on with the self-supervised loss an encoder was trained with."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from unlabeled.core import rng
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.own_loss import OwnLoss
from unlabeled.forgetting.training.objective import CrossEntropy, Objective, Weights, passing
from unlabeled.ssl.method import Batch, Method, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod


class OwnTraining(Objective):
    """The run's training, gone on with: its method around the model's encoder, its views, its schedules at their end.

    Queues, teachers and prototypes move as they did; BatchNorm's running statistics follow the retain images alone.

    Args:
        own: the loss; it stays as it is.
        model: whose encoder goes on.
        frame: its seed fixes views and masks.

    Attributes:
        method: the copy that is trained.
        step: where training stands, as the method is told.
    """

    whole_batches = True

    def __init__(self, own: OwnLoss, model: Classifier, frame: Frame[ForgetterConfig]) -> None:
        copied: Any = copy.deepcopy(own.method).to(frame.device)
        self.method: Method = copied.to(memory_format=torch.channels_last)
        self.method.backbone.load_state_dict(model.extractor.state_dict())
        super().__init__(self.method, self.method.backbone)
        self._model, self.own, self.frame = model, own, frame
        self.before_step(0, 1)

    def before_step(self, number: int, planned: int) -> None:
        seed = rng.derive(*self.frame.key("own"))
        self.step = Step(self.own.steps + number, self.own.per_epoch, self.own.steps + planned, seed, batch_size=1)
        self.method.before_step(self.step)

    def after_backward(self) -> None:
        self.method.after_backward(self.step)

    def after_step(self) -> None:
        done = self.step.number + 1
        self.method.after_step(Step(done, self.step.per_epoch, self.step.total, self.step.seed, self.step.batch_size))

    def batch(self, images: UnlabelledImages, rows: Rows, part: str) -> tuple[Batch, Step]:
        """The views of the images at ``rows`` in the present step, as the method gets them.

        Raises:
            UserError: the method cannot work on as few or as many images.
        """
        self.own.check(len(rows), part)
        at = self.step
        step = Step(at.number, at.per_epoch, at.total, rng.derive(at.seed, part), len(rows))
        pixels = images.pixels(rows, self.frame.device)
        views = self.own.views(pixels, key=(step.seed, step.number, "views"))
        return Batch(views, send(torch.from_numpy(images.rows[rows]), self.frame.device)), step

    def loss(self, images: UnlabelledImages, rows: Rows, part: str, weights: Weights | None = None) -> Tensor:
        batch, step = self.batch(images, rows, part)
        with self._drawn(step, part):
            found: Mapping[str, Tensor] = functional_call(self.method, dict(weights or {}), (batch, step))
        return found["loss"]

    def projections(self, images: UnlabelledImages, rows: Rows, part: str) -> Tensor:
        """What the run's loss compares of two views of each image at ``rows``: ``(B, 2, D)``.

        Raises:
            UserError: the run's method compares no views.
        """
        batch, step = self.batch(images, rows, part)
        if isinstance(self.method, WholeBatchMethod):
            with self._drawn(step, part):
                found = self.method.represent(batch, step)
            if found.ndim == 3 and found.shape[1] >= 2:
                return found[:, :2]
        name = self.method.config.name
        raise UserError(
            f"the loss of '{name}' compares no views of an image; those of simclr and moco do, for example."
        )

    @contextmanager
    def _drawn(self, step: Step, part: str) -> Iterator[None]:
        """What the method draws is a function of the step; statistics follow the retain images alone."""
        with torch.random.fork_rng(devices=[]), passing(self.method, part):
            # dropout and stochastic depth draw from the global generator
            torch.manual_seed(rng.derive(step.seed, step.number, "module"))
            yield

    def model(self) -> Classifier:
        self._model.extractor.load_state_dict(self.method.backbone.state_dict())
        return self._model


def objective_of(who: AnyForgetter, model: Classifier, data: ForgetData, frame: Frame[ForgetterConfig]) -> Objective:
    """The loss the model was trained with: the run's own where ``who`` takes it, else cross-entropy with labels."""
    if data.own is not None and who.uses_own_loss(model):
        return OwnTraining(data.own, model, frame)
    return CrossEntropy(model, frame.device)
