"""Accuracy of a probe on the test split."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options


def classify(config: TaskConfig, bench: Workbench) -> Outcome:
    """Fit a probe on the training split, and measure it once on the test split.

    Options: ``probe``, a name in ``unlabeled.probes.catalog`` (``logistic``).
    """
    chosen = options(config, probe="logistic")
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    probe = chosen_probe(config, chosen["probe"]).for_suite(bench.seed, bench.device).fit(train)
    right = (np.asarray(probe.predict(test.features)) == test.labels).astype(float)
    return Outcome(float(right.mean()), {"accuracy": float(right.mean())}, right)
