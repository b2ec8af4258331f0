"""The tasks of a suite, a file each; the list names them."""

from __future__ import annotations

from unlabeled.evaluation.tasks.attentive import attentive
from unlabeled.evaluation.tasks.base import Outcome, Task, TaskConfig, Workbench
from unlabeled.evaluation.tasks.classify import classify
from unlabeled.evaluation.tasks.clusters import clusters
from unlabeled.evaluation.tasks.copies import copies
from unlabeled.evaluation.tasks.corrupted import corrupted
from unlabeled.evaluation.tasks.count import count
from unlabeled.evaluation.tasks.depth import depth
from unlabeled.evaluation.tasks.episodes import episodes
from unlabeled.evaluation.tasks.erased import erased
from unlabeled.evaluation.tasks.few_labels import few_labels
from unlabeled.evaluation.tasks.incremental import incremental
from unlabeled.evaluation.tasks.label_noise import label_noise
from unlabeled.evaluation.tasks.open_set import open_set
from unlabeled.evaluation.tasks.ranked import ranked
from unlabeled.evaluation.tasks.segmentation import segmentation
from unlabeled.evaluation.tasks.unknowns import unknowns

TASKS: dict[str, Task] = {
    "classify": classify,
    "attentive": attentive,
    "few_labels": few_labels,
    "label_noise": label_noise,
    "episodes": episodes,
    "incremental": incremental,
    "retrieval": ranked,
    "copies": copies,
    "clusters": clusters,
    "count": count,
    "unknown": unknowns,
    "open_set": open_set,
    "corrupted": corrupted,
    "erased": erased,
    "segmentation": segmentation,
    "depth": depth,
}
BETWEEN = ("compatibility",)
"""Tasks of two models, which have no column of their own."""

__all__ = ["BETWEEN", "TASKS", "Outcome", "Task", "TaskConfig", "Workbench"]
