"""What a comparison shows, as plain data: the images that runs are read on, and what each run makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unlabeled.report.content import Pixels

Array = np.ndarray[Any, Any]
GROUPS = {"forget": "to be forgotten", "retain": "trained on", "unseen": "never trained on"}
"""What an image is to the runs that are compared."""


@dataclass(frozen=True)
class Shown:
    """N images that several runs are read on.

    Attributes:
        group: ``(N,)`` of :data:`GROUPS`.
        images: ``(N, C, H, W)`` uint8; zeros where an image must not be seen.
        visible: ``(N,)`` whether an image, and its name, may be seen.
        names: of the images; empty where they must not be seen.
        labels: ``(N,)`` class numbers, or ``None``.
        classes: the classes' names, or ``None``.
        said: what there is to know of the choice, a sentence each.
    """

    group: Sequence[str]
    images: Pixels
    visible: npt.NDArray[np.bool_]
    names: Sequence[str]
    labels: npt.NDArray[np.int64] | None = None
    classes: Sequence[str] | None = None
    said: Sequence[str] = ()

    def rows(self, group: str) -> npt.NDArray[np.int64]:
        """Which images belong to a group."""
        return np.flatnonzero(np.asarray(self.group) == group)

    @property
    def members(self) -> str:
        """The group whose membership is attacked: what was to be forgotten, else what was trained on."""
        return "forget" if len(self.rows("forget")) else "retain"

    def class_name(self, label: int) -> str:
        """A class in print."""
        return self.classes[label] if self.classes and 0 <= label < len(self.classes) else str(label)


@dataclass(frozen=True)
class Reading:
    """What one run makes of the images of a :class:`Shown`.

    Attributes:
        name: of the run.
        embedding: ``(N, D)``.
        layers: ``(N, D)`` by the name of a stage, from input to output; the embedding is the last.
        answers: ``(N,)`` numbers of the classes it answers, or ``None``.
        answered_by: what gives the answers.
        scores: ``(N,)`` P(member) in [0, 1] by attack; NaN where an image cannot be attacked.
    """

    name: str
    embedding: Array
    layers: Mapping[str, Array] = field(default_factory=dict)
    answers: npt.NDArray[np.int64] | None = None
    answered_by: str = ""
    scores: Mapping[str, Array] = field(default_factory=dict)
