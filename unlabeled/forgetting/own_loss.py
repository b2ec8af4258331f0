"""The self-supervised loss that a run was trained with, so that forgetting can go on with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch.nn.modules.batchnorm import _BatchNorm

from unlabeled.core.errors import UserError
from unlabeled.data.views import Views
from unlabeled.forgetting.classifier import fingerprint
from unlabeled.ssl.method import Method
from unlabeled.ssl.whole_batch import WholeBatchMethod


@dataclass(frozen=True, eq=False)
class OwnLoss:
    """What an encoder learnt from: the run's method with its heads, teacher and queues, and the views it was shown.

    ``training/own.py`` goes on with it; nothing in here is ever changed.

    Attributes:
        method: as training left it; its backbone's weights do not count, the encoder's own take their place.
        views: makes its views of uint8 images.
        steps: optimiser steps of the training, from which its schedules go on.
        per_epoch: steps of one of its epochs.
    """

    method: Method
    views: Views
    steps: int
    per_epoch: int

    @property
    def fingerprint(self) -> str:
        """Hash of all that the loss depends on."""
        specs = [spec.model_dump_json() for spec in self.views.specs]
        facts = (self.method.config.model_dump_json(), fingerprint(self.method), specs, self.views.mean, self.views.std)
        return hashlib.blake2b(repr((*facts, self.steps, self.per_epoch)).encode(), digest_size=16).hexdigest()

    def check(self, count: int, part: str) -> None:
        """Refuse a batch, or a set, that the method cannot work on.

        Args:
            count: of its images.
            part: what is to be done with them, retain or forget.

        Raises:
            UserError: they are too few, or more than it takes.
        """
        norms = any(isinstance(module, _BatchNorm) for module in self.method.modules())
        if count < (2 if norms or isinstance(self.method, WholeBatchMethod) else 1):
            raise UserError(
                f"the loss of '{self.method.config.name}' compares images, and only {count} is to {part}; use a method "
                "that asks for the images alone, such as laf or lfssd."
            )
        self.method.check(count)
