"""Numbers of a run: gathered without waiting for the device, written as CSV that survives a kill."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.files import atomic_write_text, explained
from unlabeled.engine.gradients import GradientNorms


class Window:
    """Sums of what a method logs since the last row, kept on the device; looked at only now and then."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.last_step = 0
        self.steps_closed = 0
        self.shown = math.nan
        self.norms = GradientNorms()
        self._unseen: list[tuple[int, Tensor]] = []

    def add(self, outputs: Mapping[str, Tensor], step: int) -> None:
        """Take in the 0-d tensors of a step, or of a part of it."""
        self.count += 1
        for name, value in outputs.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self._unseen.append((step, outputs["loss"].detach()))

    def due(self) -> bool:
        """Whether the losses should be looked at: always on the CPU, where it costs nothing."""
        return self._unseen[-1][1].device.type == "cpu"

    def first_bad(self) -> tuple[int, str] | None:
        """The step, and the value, of the first loss since the last look that is not finite."""
        if not self._unseen:
            return None
        values = torch.stack([loss for _, loss in self._unseen]).tolist()
        steps = [step for step, _ in self._unseen]
        self._unseen = []
        self.shown = values[-1]
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                return step, f"the loss became {value}"
        return None

    def close(self) -> dict[str, float]:
        """Means, over all ranks, since the last call."""
        sums = dist.mean_over_ranks(self.sums)
        means = {name: float(total) / max(self.count, 1) for name, total in sums.items()}
        self.steps_closed, self.sums, self.count = self.norms.count, {}, 0
        return {**means, **self.norms.close()}

    def state(self) -> dict[str, Any]:
        """What resumption needs, as plain values and tensors; the same on every rank."""
        return {
            "sums": {k: v.float().cpu() for k, v in dist.mean_over_ranks(self.sums).items()},
            "count": self.count,
            "last_step": self.last_step,
            "norms": self.norms.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Window:
        """The window as it was when the checkpoint was written."""
        window = cls()
        window.sums, window.count, window.last_step = dict(state["sums"]), state["count"], state["last_step"]
        window.norms = GradientNorms.from_state(state["norms"])
        return window


class MetricsFile:
    """``metrics.csv``: one row per reading; on resume, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            self.rows = [r for r in read_metrics(path) if float(r.get("step") or 0) <= start]
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))
        self._rewrite()

    def append(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Add a row; new columns widen the file."""
        self.must_be_there()
        row = {"step": str(step), "epoch": f"{epoch:.4f}", **{k: f"{v:.8g}" for k, v in values.items()}}
        self.rows.append(row)
        if any(name not in self.columns for name in row):
            self.columns += [name for name in row if name not in self.columns]
            self._rewrite()
            return
        with explained(self.path), self.path.open("a", newline="", encoding="utf-8") as handle:
            csv.DictWriter(handle, self.columns).writerow(row)

    def must_be_there(self) -> None:
        """Make sure that the run was not removed meanwhile: nothing is then written where it stood.

        Raises:
            UserError: the file is gone.
        """
        with explained(self.path):
            self.path.stat()

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns or ["step"])
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write_text(self.path, text.getvalue())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a ``metrics.csv`` as strings; a half-written last line is left out, empty cells too."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(lines)]
