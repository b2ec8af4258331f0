"""How well images of another data set are told from those of the known classes."""

from __future__ import annotations

from unlabeled.evaluation.detectors import DETECTORS
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
    found = separation(detector.score_samples(known.features), detector.score_samples(other.features))
    return Outcome(found["auroc"], found)
