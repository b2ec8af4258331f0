"""What can be said of a model without labels, and how each measure ranks models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.evaluation.tasks.base import TaskConfig, Workbench
from unlabeled.probes.measures import alpha_req, effective_rank, hopkins, lidar, rankme, uniformity

ROWS = 4096
IMAGES, VIEWS = 200, 5
"""Of LiDAR, for each data set."""
VIEW = ViewSpec(crop="resized", scale=(0.3, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4)
"""What LiDAR takes for the same image."""


@dataclass(frozen=True)
class Reading:
    """A measure of training features: what it is called, how it is taken, and how good a value is (more is better)."""

    title: str
    of: Callable[[Tensor], float]
    merit: Callable[[float], float] = float


READINGS = {
    "rankme": Reading("RankMe", rankme),
    "effective_rank": Reading("effective rank", effective_rank),
    "alpha_req": Reading("α-ReQ", alpha_req, lambda alpha: -abs(alpha - 1)),
    "uniformity": Reading("uniformity", uniformity, lambda value: -value),
    "hopkins": Reading("Hopkins", hopkins),
    "lidar": Reading("LiDAR", lidar),
}
"""By name. LiDAR is taken of (N, V, D) features of views, the others of (N, D) features of images."""


def readings(bench: Workbench, tasks: Sequence[TaskConfig]) -> dict[str, float]:
    """Each measure, averaged over data sets (a task of each); those that cannot be taken of one are left out there."""
    found: dict[str, list[float]] = {name: [] for name in READINGS}
    for task in tasks:
        bank = bench.bank(task, "train")
        rows = torch.from_numpy(np.asarray(bank.features[:: max(1, len(bank) // ROWS)], dtype=np.float32))
        given = dict.fromkeys(READINGS, rows) | {"lidar": views_of(bench, task)}
        for name, reading in READINGS.items():
            value = reading.of(given[name])
            if np.isfinite(value):
                found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def views_of(bench: Workbench, task: TaskConfig) -> Tensor:
    """Features (N, V, D) of V views of N training images."""
    few = task.model_copy(update={"images": min(task.images, IMAGES)})

    def drawn(number: int) -> Tensor:
        def view(pixels: Tensor) -> Tensor:
            views = Views([VIEW], mean=(0.0,) * pixels.shape[1], std=(1.0,) * pixels.shape[1])
            [out] = views(pixels, key=(bench.seed, "lidar", number))
            return (out * 255).round().clamp(0, 255).to(torch.uint8)

        bank = bench.bank(few, "train", change=view)
        return torch.from_numpy(np.asarray(bank.features, dtype=np.float32))

    return torch.stack([drawn(number) for number in range(VIEWS)], dim=1)
