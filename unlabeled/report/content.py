"""What a page shows, as plain data: no model, no data set, no file of a run is known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Confusion:
    """Counts (K, K): a row is what an image is, a column what was answered."""

    title: str
    classes: Sequence[str]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Projection:
    """Points (N, 2) in the plane, one for each thumbnail of the :class:`Atlas`."""

    title: str
    points: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Atlas:
    """Held-out images (N, C, H, W) that are shown as points, and what is known of each."""

    images: Pixels
    names: Sequence[str]
    labels: npt.NDArray[np.int64] | None = None
    classes: Sequence[str] | None = None


@dataclass(frozen=True)
class Cell:
    """A small image (C, H, W) with a tooltip; ``right`` marks it as right or wrong."""

    image: Pixels
    tip: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Gallery:
    """Rows of small images under column headings, perhaps each with a name in front."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    row_names: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A picture file, embedded as it is."""

    title: str
    data: bytes
    mime: str


@dataclass(frozen=True)
class Forgetting:
    """A deletion request that was carried out: facts, the measures of each model, and pictures."""

    title: str
    facts: Mapping[str, str]
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By model (``before``, ``after``, ``retrained``), by name."""
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class RunContent:
    """Everything a page shows of one run.

    Attributes:
        name: how the run is called on the page.
        method: the method's name.
        facts: what was done, in a few words each.
        metrics: rows of numbers with ``step`` and ``epoch``.
        probes: probe reports, as ``unlabeled.recipes.probe`` returns them; baselines under ``compared_with``.
        recipe: YAML.
        environment: versions, hardware, command.
    """

    name: str
    method: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, float]] = ()
    probes: Sequence[Mapping[str, Any]] = ()
    confusions: Sequence[Confusion] = ()
    atlas: Atlas | None = None
    projections: Sequence[Projection] = ()
    retrieval: Gallery | None = None
    galleries: Sequence[Gallery] = ()
    pictures: Sequence[Picture] = ()
    forgetting: Sequence[Forgetting] = ()
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe as dotted keys and values, to compare runs."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """What could not be shown, and why."""
