"""Accuracy after the last step when classes arrive in steps and no row is kept."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options
from unlabeled.probes.arrays import encode
from unlabeled.probes.base import class_codes
from unlabeled.probes.incremental import steps_to_test, stepwise, taught


def incremental(config: TaskConfig, bench: Workbench) -> Outcome:
    """Options: ``probe``, one that learns class by class (``nmc``), ``steps`` (5)."""
    chosen = options(config, probe="nmc", steps=5)
    choice(config, "probe", chosen["probe"], stepwise())
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    assert train.labels is not None
    assert test.labels is not None
    deal = steps_to_test(train.labels, test.labels, chosen["steps"], seed=bench.seed)
    wanted, seen, right = encode(test.labels, class_codes(train.labels)[0]), [], np.empty(0)
    for t, probe in enumerate(taught(stepwise()[chosen["probe"]].for_suite(bench.seed, bench.device), train, deal)):
        right = (np.asarray(probe.predict(test.features)) == test.labels).astype(float)
        seen.append(float(right[np.isin(wanted, np.concatenate(deal[: t + 1]))].mean()))
    return Outcome(float(right.mean()), {"final": float(right.mean()), "average": float(np.mean(seen))}, right)
