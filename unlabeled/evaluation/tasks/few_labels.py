"""Accuracy from a few labels, over draws of them."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options
from unlabeled.probes.fewshot import labelled_parts


def few_labels(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean accuracy over draws. Options: ``labels`` (``5-per-class``), ``probe`` (``nmc``), ``draws`` (5)."""
    chosen = options(config, labels="5-per-class", probe="nmc", draws=5)
    kind = chosen_probe(config, chosen["probe"])
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    right = [
        (np.asarray(kind.for_suite(bench.seed, bench.device).fit(part).predict(test.features)) == test.labels)
        for part in labelled_parts(train, chosen["labels"], chosen["draws"], bench.seed)
    ]
    per_image = np.asarray(np.mean(right, axis=0), dtype=np.float64)
    return Outcome(float(per_image.mean()), {"accuracy": float(per_image.mean())}, per_image)
