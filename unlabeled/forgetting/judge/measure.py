"""The contract of a measure of forgetting: what it finds, what it needs, and what its figures are called in print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from unlabeled.forgetting.judge.case import Case, View
from unlabeled.probes.intervals import accuracy_interval

SURE = "with 95 % confidence"
"""What the ends of an interval mean."""
Table = Literal["accuracy", "leakage", "representation"]


@dataclass(frozen=True)
class Words:
    """How a figure is printed.

    Attributes:
        title: its name for readers who do not know it.
        meaning: what it says, and which value is good.
        tables: those of ``unlabeled forget`` it stands in.
        percent: whether it is a share, printed in percent.
    """

    title: str
    meaning: str
    tables: tuple[Table, ...] = ()
    percent: bool = False


@dataclass
class Found:
    """What a measure found on one model.

    Attributes:
        values: figures by name; each name has its :class:`Words`.
        arrays: what pictures are drawn from.
        class_accuracy: test accuracy by class.
        relearn: the curve of learning again.
    """

    values: dict[str, float]
    arrays: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    class_accuracy: list[float] = field(default_factory=list)
    relearn: dict[str, Any] | None = None


@dataclass(frozen=True)
class Measure:
    """A measure, or several that share their work.

    Attributes:
        of: measures a model (the :class:`View` of it) in a :class:`Case`; changes neither.
        words: by the name of each figure, in the order of the tables.
        needs_labels, needs_head: what it is left out without.
    """

    of: Callable[[Case, View], Found]
    words: dict[str, Words]
    needs_labels: bool = False
    needs_head: bool = False


def with_interval(name: str, share: float, n: int) -> dict[str, float]:
    """A share of ``n`` images under its name, and the ends of its 95 % interval (Wilson's) under ``_low``, ``_high``.

    >>> {name: round(value, 2) for name, value in with_interval("train_f", 0.8, 20).items()}
    {'train_f': 0.8, 'train_f_low': 0.58, 'train_f_high': 0.92}
    """
    if not n or math.isnan(share):
        return {name: math.nan}
    low, high = accuracy_interval(round(share * n), n)
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def and_intervals(words: Mapping[str, Words]) -> dict[str, Words]:
    """The words of figures, and of the ends of the intervals of those that are shares of images."""
    out = dict(words)
    for name, of in words.items():
        if of.percent:
            ends = {"low": "at least", "high": "at most"}
            out |= {f"{name}_{end}": Words(f"{of.title}, {bound}", SURE, percent=True) for end, bound in ends.items()}
    return out
