"""How well clusters of the test split match its classes."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.clustering import KMeans, agreement, density_clusters
from unlabeled.evaluation.paired import resampled
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options


def clusters(config: TaskConfig, bench: Workbench) -> Outcome:
    """NMI of clusters with classes; ARI and accuracy under the best matching go with it.

    Options: ``method``: ``kmeans`` of normalised features with as many clusters as classes (default), or ``hdbscan``,
    which finds their number itself (``clusters``) and calls the rest noise (``noise``, its share).
    """
    chosen = options(config, method="kmeans")
    test = bench.bank(config, "test")
    assert test.labels is not None
    number = len(np.unique(test.labels))
    methods = {
        "kmeans": lambda: KMeans(number, normalise=True, seed=bench.seed).fit(test.features).labels_,
        "hdbscan": lambda: density_clusters(test.features),
    }
    found, labels = choice(config, "method", chosen["method"], methods)(), test.labels
    measures = agreement(found, labels)
    measures |= {"clusters": float(len(np.unique(found[found >= 0]))), "noise": float((found < 0).mean())}
    draws = resampled(lambda rows: agreement(found[rows], labels[rows])["nmi"], len(found), seed=bench.seed)
    return Outcome(measures["nmi"], measures, resamples=draws, images=len(found))
