"""Whether changed copies of images are found again among all others."""

from __future__ import annotations

import functools

import numpy as np

from unlabeled.evaluation.corruptions import corrupt
from unlabeled.evaluation.retrieval import duplicates, per_query
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options


def copies(config: TaskConfig, bench: Workbench) -> Outcome:
    """Share of changed copies whose nearest test image is the one that they were made of.

    With it, ``precision`` and ``recall`` of the pairs that :func:`~unlabeled.evaluation.retrieval.duplicates` names
    among images and copies together: a pair of two different images is a wrong one, even where those are alike.
    Options: ``kinds`` of change ([jpeg, brightness, scale]), ``severity`` (1), ``threshold`` (0.99).
    """
    chosen = options(config, kinds=["jpeg", "brightness", "scale"], severity=1, threshold=0.99)
    test = bench.bank(config, "test")
    number, own = len(test), np.arange(len(test))
    found, right, named = [], 0, 0
    for kind in chosen["kinds"]:
        change = functools.partial(corrupt, kind=kind, severity=chosen["severity"], seed=bench.seed)
        changed = bench.bank(config, "test", change=change).features
        found.append(per_query(changed, own, test.features, own, ks=[1])["recall@1"])
        pairs = duplicates(np.concatenate([test.features, changed]), chosen["threshold"])
        named += len(pairs)
        right += sum(second - first == number for first, second, _ in pairs)
    per_image = np.mean(found, axis=0)
    measures = {
        "found": float(per_image.mean()),
        "precision": right / named if named else 0.0,
        "recall": right / (number * len(chosen["kinds"])),
    }
    return Outcome(measures["found"], measures, per_image)
