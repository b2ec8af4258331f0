"""Retrieval within the test split."""

from __future__ import annotations

from unlabeled.evaluation.retrieval import retrieval
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options


def ranked(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean average precision; recalls and R-precision are measured with it. No options."""
    options(config)
    test = bench.bank(config, "test")
    found = retrieval(test.features, test.labels)
    return Outcome(found["map"], found)
