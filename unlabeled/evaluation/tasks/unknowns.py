"""How well images of another data set are told from those of the known classes."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.detectors import DETECTORS
from unlabeled.evaluation.paired import resampled
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options
from unlabeled.evaluation.unknown import separation


def unknowns(config: TaskConfig, bench: Workbench) -> Outcome:
    """AUROC of a detector fitted on the training split: its test split against another data set's.

    Options: ``against``, the other data set (``noise:1000``), ``detector`` (``knn``).
    """
    chosen = options(config, against="noise:1000", detector="knn")
    detector = choice(config, "detector", chosen["detector"], DETECTORS)(device=bench.device)
    detector.fit(bench.bank(config, "train"))
    known = bench.bank(config, "test")
    other = bench.bank(config, "test", data=chosen["against"])
    inside, outside = (np.asarray(detector.score_samples(bank.features)) for bank in (known, other))
    found = separation(inside, outside)
    draws = resampled(
        lambda k, u: separation(inside[k], outside[u])["auroc"], len(inside), len(outside), seed=bench.seed
    )
    return Outcome(found["auroc"], found, resamples=draws, images=len(inside) + len(outside))
