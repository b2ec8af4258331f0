"""The self-supervised loss that a run was trained with, so that forgetting can go on with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from unlabeled.data.views import Views
from unlabeled.forgetting.classifier import fingerprint
from unlabeled.ssl.method import Method


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
