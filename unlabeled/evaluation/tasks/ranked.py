"""Retrieval within the test split."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.retrieval import per_query
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options


def ranked(config: TaskConfig, bench: Workbench) -> Outcome:
    """A figure of the ranking of all other test images by cosine similarity, averaged over the queries.

    Options: ``measure``: ``map`` (default), ``r_precision``, ``recall@1``, ``recall@5`` or ``recall@10``.
    """
    chosen = options(config, measure="map")
    test = bench.bank(config, "test")
    found = per_query(test.features, test.labels)
    values = np.array(choice(config, "measure", chosen["measure"], found))
    return Outcome(float(values.mean()), {name: float(np.mean(each)) for name, each in found.items()}, values)
