"""What a task is: from a model's features of some data to one figure, and where it can, one figure a test image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import Field
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core.config import Config
from unlabeled.core.errors import UserError
from unlabeled.probes.features import FeatureBank

PerImage = np.ndarray[Any, np.dtype[np.float64]]
Change = Callable[[Tensor], Tensor]


class TaskConfig(Config):
    """One column of the table, as a suite's YAML states it."""

    task: str
    """Which of ``unlabeled.evaluation.tasks``."""
    data: str
    """A data set, or for masks a folder."""
    title: str = ""
    """Of the column; default: the task and the data."""
    size: int = Field(default=32, ge=8, le=1024)
    """Side in pixels for models that have no size of their own."""
    channels: int = Field(default=3, ge=1, le=16)
    """The same for their channels."""
    images: int = Field(default=10_000, ge=2)
    """At most so many of each split, drawn by the seed."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the task asks for beyond that."""

    @property
    def name(self) -> str:
        """The column's title."""
        return self.title or f"{self.task} {self.data}"

    def refuse(self, option: str, why: str) -> UserError:
        """The error of an option that cannot be used."""
        return UserError(f"suite: '{option}' of task '{self.task}' {why}, not {self.options.get(option)!r}.")


class Workbench(Protocol):
    """What a task has at hand: one model's features, from the cache where they were made before."""

    seed: int
    device: str
    """Where probes compute."""

    def bank(
        self,
        config: TaskConfig,
        split: str,
        *,
        data: str | None = None,
        change: Change | None = None,
        pool: str | None = None,
    ) -> FeatureBank:
        """Features of a split of the task's data (or of other ``data``).

        Pixels are changed first where asked; ``pool="flat"`` keeps every place of the last map, channel by channel.
        """
        ...

    def layers(self, config: TaskConfig, split: str) -> dict[str, Tensor]:
        """Embeddings (N, D) of a split by every layer of the model, from its first to its last."""
        ...

    def backbone(self) -> Backbone:
        """The model itself, for tasks that need more than its embeddings."""
        ...

    def folder(self, name: str) -> Any:
        """Where a data set's folder lies."""
        ...


@dataclass(frozen=True)
class Curve:
    """A figure over something that is varied: points (x, y), and what x is."""

    over: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Outcome:
    """What a task found.

    Attributes:
        value: the figure of the table, larger is better, mostly in [0, 1].
        measures: all figures, by name.
        per_image: (N,) one number a test image (or episode) with ``value`` as their mean, where it is such a mean.
        resamples: (R,) the figure on resamples of the test images, where it is not (:func:`resampled`).
        images: how many test images were resampled.
        curve: the figure over what was varied, if anything was.
    """

    value: float
    measures: dict[str, float] = field(default_factory=dict)
    per_image: PerImage | None = None
    resamples: PerImage | None = None
    images: int = 0
    curve: Curve | None = None


Task = Callable[[TaskConfig, Workbench], Outcome]
