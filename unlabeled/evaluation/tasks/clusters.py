"""How well k-means on the test split finds its classes."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.clustering import KMeans, agreement
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options


def clusters(config: TaskConfig, bench: Workbench) -> Outcome:
    """NMI of as many clusters of normalised features as there are classes; ARI and matched accuracy go with it."""
    options(config)
    test = bench.bank(config, "test")
    assert test.labels is not None
    found = KMeans(len(np.unique(test.labels)), normalise=True, seed=bench.seed).fit(test.features)
    measures = agreement(found.labels_, test.labels)
    return Outcome(measures["nmi"], measures)
