"""The tasks of a suite, a file each; the list names them."""

from __future__ import annotations

from unlabeled.evaluation.tasks.base import Outcome, Task, TaskConfig, Workbench
from unlabeled.evaluation.tasks.classify import classify
from unlabeled.evaluation.tasks.clusters import clusters
from unlabeled.evaluation.tasks.corrupted import corrupted
from unlabeled.evaluation.tasks.episodes import episodes
from unlabeled.evaluation.tasks.erased import erased
from unlabeled.evaluation.tasks.few_labels import few_labels
from unlabeled.evaluation.tasks.incremental import incremental
from unlabeled.evaluation.tasks.ranked import ranked
from unlabeled.evaluation.tasks.segmentation import segmentation
from unlabeled.evaluation.tasks.unknowns import unknowns

TASKS: dict[str, Task] = {
    "classify": classify,
    "few_labels": few_labels,
    "episodes": episodes,
    "incremental": incremental,
    "retrieval": ranked,
    "clusters": clusters,
    "unknown": unknowns,
    "corrupted": corrupted,
    "erased": erased,
    "segmentation": segmentation,
}

__all__ = ["TASKS", "Outcome", "Task", "TaskConfig", "Workbench"]
