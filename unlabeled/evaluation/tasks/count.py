"""How many classes there seem to be."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.clustering import number_of_classes
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options

CANDIDATES = [2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 80, 100]
"""Chosen without a look at any data."""


def count(config: TaskConfig, bench: Workbench) -> Outcome:
    """The estimate over the truth, or the truth over the estimate, whichever is at most 1: 1 is right.

    The estimate is the number of clusters of the training split with the largest silhouette; no label is read.
    Options: ``candidates`` (2 to 100 in fifteen steps).
    """
    chosen = options(config, candidates=CANDIDATES)
    train = bench.bank(config, "train")
    assert train.labels is not None
    possible = [k for k in chosen["candidates"] if k < len(train)]
    estimate = number_of_classes(train.features, possible, seed=bench.seed)
    truth = len(np.unique(train.labels))
    return Outcome(min(estimate, truth) / max(estimate, truth), {"estimate": estimate, "classes": truth})
