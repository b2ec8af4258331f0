"""Accuracy after the last step when classes arrive in steps and no row is kept."""

from __future__ import annotations

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options
from unlabeled.probes.incremental import run_incremental, stepwise


def incremental(config: TaskConfig, bench: Workbench) -> Outcome:
    """Options: ``probe``, one that learns class by class (``nmc``), ``steps`` (5)."""
    chosen = options(config, probe="nmc", steps=5)
    choice(config, "probe", chosen["probe"], stepwise())
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    report = run_incremental(
        train, test, [chosen["probe"]], steps=chosen["steps"], seed=bench.seed, device=bench.device
    )
    [found] = report.results
    return Outcome(found.final, {"final": found.final, "average": found.average})
