"""Many runs at a glance: list, sort, compare, clean."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import remove
from unlabeled.core.progress import say
from unlabeled.probes.catalog import SUITE
from unlabeled.report.gather import asked_to_forget, flat, made_by, metrics, probe_reports
from unlabeled.report.tables import probe_rows
from unlabeled.runs.folder import Run

DEPTH = 4
"""How many folders deep runs are looked for."""
READINGS = ("loss", "rankme", "knn_train_split")
TEXT = ("run", "state", "method", "backbone", "data", "started")


@dataclass(frozen=True)
class RunRow:
    """A run in a list.

    Attributes:
        folder: where it lies.
        state: ``finished``, ``stopped`` (can be resumed), ``running``, or ``unreadable``.
        method: what trained it, and what made it forget since.
        epoch: how far training came; NaN where forgetting came after it.
        megabytes: what the folder holds.
        figures: probe accuracies in [0, 1] on its own data, and the last training readings.
    """

    folder: Path
    run: str
    state: str
    method: str = ""
    backbone: str = ""
    data: str = ""
    epoch: float = 0.0
    epochs: int = 0
    started: str = ""
    megabytes: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    def value(self, key: str) -> str | float:
        """What a list is sorted by; NaN where the run has no such figure."""
        if key in self.figures or not hasattr(self, key):
            return self.figures.get(key, math.nan)
        found = getattr(self, key)
        return found if isinstance(found, str) else float(found)


def runs(folder: str | Path | Sequence[str | Path], sort: str = "started") -> list[RunRow]:
    """All runs in folders and below, sorted: text and dates from the first on, figures from the highest on.

    Args:
        folder: where to look; or several, which may be runs themselves.
        sort: ``run``, ``state``, ``method``, ``backbone``, ``data``, ``started``, ``epoch``, ``megabytes``, a probe
            (``linear``, ``knn``, …) or a reading (``loss``, ``rankme``, ``knn_train_split``).

    Raises:
        UserError: the folder does not exist, or nothing can be sorted by that.
    """
    folders = [Path(folder)] if isinstance(folder, str | Path) else [Path(each) for each in folder]
    top = folders[0] if len(folders) == 1 else Path()
    rows = [_row(path, top) for path in dict.fromkeys(path for each in folders for path in find_runs(each))]
    known = {*TEXT, "epoch", "megabytes", *READINGS, *SUITE, *(name for row in rows for name in row.figures)}
    if sort not in known:
        raise UserError(f"runs cannot be sorted by '{sort}'.{nearest(sort, known)}")
    if sort in TEXT:
        return sorted(rows, key=lambda row: (str(row.value(sort)), row.run))
    sign = 1 if sort == "loss" else -1

    def place(row: RunRow) -> tuple[bool, float]:
        value = float(row.value(sort))
        return math.isnan(value), sign * value

    return sorted(rows, key=place)


def find_runs(folder: Path) -> Iterator[Path]:
    """The run folders in a folder and below.

    Raises:
        UserError: it is not a folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; runs are made by `unlabeled pretrain`, in runs/ unless told otherwise."
        )
    for path, folders, files in os.walk(folder):
        if run_files.RECIPE in files:
            folders.clear()
            yield Path(path)
        elif len(Path(path).relative_to(folder).parts) >= DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _row(folder: Path, top: Path) -> RunRow:
    run, name = Run(folder), str(folder.relative_to(top)) if top in folder.parents else str(folder)
    if folder == top:
        name = folder.name
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink()) / 2**20
    try:
        recipe = run.recipe()
    except UserError:
        return RunRow(folder, name, "unreadable", megabytes=size)
    readings = metrics(run)
    figures = {}
    for key in READINGS:
        last = [row[key] for row in readings if math.isfinite(row.get(key, math.nan))]
        if last:
            figures[key] = last[-1]
    probes = [row for row in probe_rows(probe_reports(run)) if not row.baseline]
    figures |= {row.probe: row.top1 for row in reversed(probes) if row.data == probes[0].data}
    return RunRow(
        folder=folder,
        run=name,
        state="finished" if run.finished() else "running" if _busy(run) else "stopped",
        method=made_by(run, recipe),
        backbone=recipe.backbone.name,
        data=recipe.data.name,
        epoch=max((row.get("epoch", 0.0) for row in readings), default=math.nan if run.forgets() else 0.0),
        epochs=recipe.epochs,
        started=str(run.read_json(run_files.ENVIRONMENT).get("started", "")),
        megabytes=size,
        figures=figures,
    )


def _busy(run: Run) -> bool:
    if not (run.folder / run_files.LOCK).exists():
        return False
    try:
        with run.lock():
            return False
    except UserError:
        return True


def differing(rows: Sequence[RunRow]) -> dict[str, list[str]]:
    """The settings in which runs differ, and what was forgotten, as JSON, a value a run.

    Raises:
        UserError: there are fewer than two runs that can be read.
    """
    if len(rows) < 2:
        raise UserError("comparing needs at least two runs that can be read; see them with: unlabeled runs DIR")
    opened = [Run(row.folder) for row in rows]
    recipes = [flat(run.recipe().model_dump(mode="json", exclude={"hardware", "output"})) for run in opened]
    recipes = [recipe | {"forgot": asked_to_forget(run)} for recipe, run in zip(recipes, opened, strict=True)]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    written = {key: [json.dumps(recipe.get(key), ensure_ascii=False) for recipe in recipes] for key in keys}
    return {key: values for key, values in written.items() if len(set(values)) > 1}


def clean(rows: Sequence[RunRow], what: str, *, really: bool = False) -> list[Path]:
    """Remove unfinished runs, or the checkpoints of finished ones. A running one is never touched.

    Args:
        rows: the list from :func:`runs`.
        what: ``"unfinished"``: stopped runs, and their folders where nothing else lies in them; ``"checkpoints"``: the
            checkpoints of finished runs, which are then only good for use, not for the method's own pictures.
        really: False only says what would go.

    Returns:
        The folders that went, or would go.

    Raises:
        UserError: ``what`` is unknown, or a folder cannot be removed.
    """
    if what not in ("unfinished", "checkpoints"):
        raise UserError(f"runs --clean knows no '{what}'.{nearest(what, ('unfinished', 'checkpoints'))}")
    gone = []
    for row in rows:
        run = Run(row.folder)
        if what == "unfinished":
            # a recipe alone may be one that somebody wrote
            target, due = run.folder, row.state == "stopped" and (run.folder / run_files.ENVIRONMENT).is_file()
        else:
            target, due = run.folder / run_files.CHECKPOINTS, row.state == "finished" and run.checkpoint.parent.is_dir()
        if not due:
            continue
        gone.append(target)
        if really:
            with run.lock():  # another process may have resumed it meanwhile
                guests = run.guests() if what == "unfinished" else []
                run.clear() if guests else remove(target)
            say(f"removed {target}" + (f" except what is not a run's: {', '.join(guests)}" if guests else ""))
    return gone
