"""Accuracy from a few labels, over draws of them."""

from __future__ import annotations

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options
from unlabeled.probes.fewshot import run_few_labels


def few_labels(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean accuracy over draws. Options: ``labels`` (``5-per-class``), ``probe`` (``nmc``), ``draws`` (5)."""
    chosen = options(config, labels="5-per-class", probe="nmc", draws=5)
    chosen_probe(config, chosen["probe"])
    report = run_few_labels(
        bench.bank(config, "train"), bench.bank(config, "test"), chosen["labels"], [chosen["probe"]],
        draws=chosen["draws"], seed=bench.seed, device=bench.device,
    )  # fmt: skip
    return Outcome(report.results[0].top1, {"accuracy": report.results[0].top1})
