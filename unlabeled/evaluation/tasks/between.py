"""What two models are compared by: a task that needs both."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.compatibility import Representation
from unlabeled.evaluation.tasks.base import TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options

LAYER_IMAGES = 500
"""Test images on which layers are compared."""


def represented(config: TaskConfig, bench: Workbench) -> Representation:
    """One model's side of ``compatibility``. Options: ``probe``, which answers for flips (``logistic``)."""
    chosen = options(config, probe="logistic")
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    probe = chosen_probe(config, chosen["probe"]).for_suite(bench.seed, bench.device).fit(train)
    right = np.asarray(probe.predict(test.features)) == test.labels
    few = config.model_copy(update={"images": min(config.images, LAYER_IMAGES)})
    return Representation(train, test, right, bench.layers(few, "test"))
