"""All measures of one model in one place: what it answers, what it embeds, what an attacker learns from either."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.judge.case import Case, Task
from unlabeled.forgetting.judge.catalog import MEASURES


@dataclass
class Findings:
    """Measures by name, each class's test accuracy, and the arrays behind the pictures."""

    measures: dict[str, float]
    class_accuracy: list[float]
    relearn: dict[str, Any] | None
    arrays: dict[str, np.ndarray[Any, Any]] = field(repr=False)


class Evaluator:
    """Measures models of one task and seed against its original and its retrained model.

    Args:
        task, retrained, seed, device: see :class:`~unlabeled.forgetting.judge.case.Case`.
    """

    def __init__(
        self, task: Task, retrained: Classifier | None, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.case = Case(task, retrained, seed=seed, device=device)

    def __call__(self, model: Classifier) -> Findings:
        """Measure ``model``; what needs labels or a head is left out where there are none."""
        case, view = self.case, self.case.view(model)
        embeddings = ((n, view.embeddings[n][:500].numpy().astype(np.float32)) for n in ("retain", "forget"))
        findings = Findings({}, [], None, {f"embedding_{name}": rows for name, rows in embeddings})
        for measure in MEASURES:
            if (case.labelled or not measure.needs_labels) and (case.has_head or not measure.needs_head):
                found = measure.of(case, view)
                findings.measures |= found.values
                findings.arrays |= found.arrays
                findings.class_accuracy = found.class_accuracy or findings.class_accuracy
                findings.relearn = found.relearn or findings.relearn
        return findings
