"""Accuracy on corrupted test images of a probe that saw clean ones."""

from __future__ import annotations

import functools

import numpy as np

from unlabeled.evaluation.corruptions import CORRUPTIONS, corrupt
from unlabeled.evaluation.tasks.base import Curve, Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options


def corrupted(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean accuracy over corruptions and severities; ``relative`` is its share of the clean accuracy.

    Options: ``probe`` (``logistic``), ``kinds`` (all), ``severities`` ([1, 3, 5]).
    """
    chosen = options(config, probe="logistic", kinds=list(CORRUPTIONS), severities=[1, 3, 5])
    probe = chosen_probe(config, chosen["probe"]).for_suite(bench.seed, bench.device).fit(bench.bank(config, "train"))
    clean = bench.bank(config, "test")
    accuracy = probe.score(clean.features, clean.labels)
    right, measures = [], {"clean": accuracy}
    harder: dict[int, list[float]] = {severity: [] for severity in chosen["severities"]}
    for kind in chosen["kinds"]:
        of_kind = []
        for severity in chosen["severities"]:
            change = functools.partial(corrupt, kind=kind, severity=severity, seed=bench.seed)
            bank = bench.bank(config, "test", change=change)
            of_kind.append((np.asarray(probe.predict(bank.features)) == bank.labels).astype(float))
            harder[severity].append(float(of_kind[-1].mean()))
        measures[kind] = float(np.mean(of_kind))
        right += of_kind
    per_image = np.mean(right, axis=0)
    value = float(per_image.mean())
    points = ((0.0, accuracy), *((float(severity), float(np.mean(each))) for severity, each in harder.items()))
    measures["relative"] = value / accuracy if accuracy else 0.0
    return Outcome(value, measures, per_image, curve=Curve("severity", points))
