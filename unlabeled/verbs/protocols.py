"""What can be asked of a pair of banks beside the probes: few labels, classes in steps, small episodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.rows import labelled_rows
from unlabeled.probes import FeatureBank, run_episodes, run_few_labels, run_incremental
from unlabeled.probes.arrays import Labels
from unlabeled.probes.fewshot import episode_classes
from unlabeled.probes.incremental import steps_to_test


@dataclass(frozen=True)
class Protocols:
    """Which of them to carry out.

    Attributes:
        labels: shares of the training labels: ``"1%"``, ``"5-per-class"``; each a table of its own.
        draws: how many times the labelled rows are drawn.
        incremental: steps in which the classes arrive; None: all at once only.
        episodes: ``"5-way-1-shot"``, on the test images.
    """

    labels: tuple[str, ...] = ()
    draws: int = 5
    incremental: int | None = None
    episodes: tuple[str, ...] = ()

    def check(self, train: Labels, test: Labels, seed: int) -> None:
        """Refuse what cannot be carried out with these labels, before anything is computed.

        Raises:
            UserError: a share or an episode that is not understood, more steps or ways than classes, too few test rows.
        """
        classes = len(np.unique(train))
        for share in self.labels:
            labelled_rows(np.zeros(1, np.int64), share)
        if self.draws < 1:
            raise UserError(f"--draws must be at least 1, not {self.draws}.")
        if self.incremental is not None:
            steps_to_test(train, test, self.incremental, seed=seed)
        for text in self.episodes:
            ways, shots = ways_and_shots(text)
            if ways > classes:
                raise UserError(f"--episodes {text}: there are only {classes} classes; use fewer ways.")
            episode_classes(test, ways, shots)

    def run(
        self, train: FeatureBank, test: FeatureBank, probes: tuple[str, ...], seed: int, device: str | None = None
    ) -> dict[str, Any]:
        """The sections of a report: ``few_labels`` and ``episodes`` (lists), ``incremental``; only those asked for."""
        found: dict[str, Any] = {}
        how: dict[str, Any] = {"seed": seed, "device": device}
        if self.labels:
            reports = [run_few_labels(train, test, s, probes, draws=self.draws, **how) for s in self.labels]
            found["few_labels"] = [report.asdict() for report in reports]
        if self.incremental is not None:
            found["incremental"] = run_incremental(train, test, steps=self.incremental, **how).asdict()
        if self.episodes:
            asked = [ways_and_shots(text) for text in self.episodes]
            results = [run_episodes(test, ways=w, shots=s, centre=train, **how) for w, s in asked]
            found["episodes"] = [result.asdict() for result in results]
        return found


def ways_and_shots(text: str) -> tuple[int, int]:
    """Read ``"5-way-1-shot"``.

    >>> ways_and_shots("5-way-1-shot")
    (5, 1)
    """
    found = re.fullmatch(r"(\d+)-way-(\d+)-shot", text.strip())
    if not found or int(found[1]) < 2 or int(found[2]) < 1:
        raise UserError(f"--episodes '{text}' is not understood; write it like 5-way-1-shot.")
    return int(found[1]), int(found[2])
