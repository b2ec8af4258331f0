"""Accuracy over small episodes of classes that the probe has never seen."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options
from unlabeled.probes.fewshot import run_episodes


def episodes(config: TaskConfig, bench: Workbench) -> Outcome:
    """Nearest class mean by cosine in episodes of the test split.

    Options: ``ways`` (5), ``shots`` (1), ``queries`` (15), ``episodes`` (600), ``split`` (``test``), ``transductive``:
    all queries of an episode move the means before they are answered (false).
    """
    chosen = options(config, ways=5, shots=1, queries=15, episodes=600, split="test", transductive=False)
    bank = bench.bank(config, chosen.pop("split"))
    found = run_episodes(bank, **chosen, seed=bench.seed, device=bench.device)
    return Outcome(found.accuracy, {"accuracy": found.accuracy}, np.array(found.each))
