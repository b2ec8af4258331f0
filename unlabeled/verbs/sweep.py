"""Train a grid of recipes, and compare them on training images that were held out; the test images stay unread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.core.files import atomic_write_json, locked
from unlabeled.core.progress import say
from unlabeled.core.words import duration
from unlabeled.probes.intervals import mean_interval
from unlabeled.recipes.grid import Point, grid
from unlabeled.runs.folder import Run, command_line
from unlabeled.runs.images import honoured
from unlabeled.runs.models import settled
from unlabeled.verbs.held_out import known, metric, score
from unlabeled.verbs.pretrain import check_parts, check_same, default_folder, pretrain

SCHEMA = "unlabeled.sweep/1"
TABLE, LOCK = "sweep.json", ".sweep.lock"


@dataclass(frozen=True)
class Row:
    """What a setting reached.

    Attributes:
        by_seed: the figure of every seed that has one.
        interval: Student's at 95 % of the mean over seeds; None where nothing can be said.
        diverged: seeds whose loss, gradients or weights became NaN or infinite.
        missing: seeds that have not been trained and scored yet.
    """

    setting: tuple[str, ...]
    title: str
    by_seed: Mapping[int, float]
    diverged: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def mean(self) -> float | None:
        """Over the seeds that have a figure."""
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean."""
        return mean_interval(list(self.by_seed.values())) if self.by_seed else None

    @property
    def whole(self) -> bool:
        """Whether every seed has a figure."""
        return not self.diverged and not self.missing


@dataclass(frozen=True)
class Swept:
    """The table of a sweep.

    Attributes:
        folder: where its runs lie.
        by: the probe, or ``rankme``, that runs are compared by.
        rows: a setting each, as the grid lists them.
        runs: the run folders of each setting.
    """

    folder: Path
    by: str
    rows: tuple[Row, ...]
    runs: Mapping[tuple[str, ...], tuple[Path, ...]] = field(default_factory=dict)

    @property
    def best(self) -> Row | None:
        """The setting with the highest mean, of those that have a figure of every seed."""
        return max((row for row in self.rows if row.whole), key=lambda row: row.mean or 0.0, default=None)

    @property
    def diverged(self) -> list[str]:
        """The runs that became useless."""
        return [f"{row.title} seed={seed}" for row in self.rows for seed in row.diverged]

    def asdict(self) -> dict[str, Any]:
        """Plain data, the schema of ``sweep.json`` (docs/scale.md)."""
        rows = [
            {
                "setting": list(row.setting),
                "mean": row.mean,
                "interval": None if row.interval is None else list(row.interval),
                "seeds": {str(seed): value for seed, value in row.by_seed.items()},
                "diverged": list(row.diverged),
                "missing": list(row.missing),
                "runs": [path.name for path in self.runs[row.setting]],
            }
            for row in self.rows
        ]
        best = None if self.best is None else list(self.best.setting)
        return {"schema": SCHEMA, "by": self.by, "rows": rows, "best": best}


def sweep(
    recipe: str | Path,
    settings: Sequence[str],
    out: str | Path | None = None,
    *,
    by: str | None = None,
    only: int | None = None,
) -> Swept:
    """Train every recipe of a grid that is not finished yet, score each on a held-out fifth of its training images.

    ``sweep("simclr", ["optimizer.lr=0.1,0.3", "seed=0..2"])`` makes six ordinary run folders in ``out``. Interrupted,
    it goes on where it stopped; called with more values, it adds their runs.

    Args:
        recipe: a built-in name, a YAML file or a run folder.
        settings: ``key=value`` for all runs, ``key=a,b,c`` or ``seed=0..2`` to vary.
        out: where the runs go; default: ``runs/sweep-…``.
        by: a probe, fitted to four fifths of the labelled training images and scored on the others, the same in every
            run; or ``rankme``, which needs no labels. Default: ``linear`` where there are labels.
        only: carry out just this one of the grid, from 0 (a task of a SLURM array).

    Raises:
        UserError: the grid, a recipe or the metric is wrong, or a folder holds another recipe's run.
        Interrupted: stopped by a signal; the same call goes on.
    """
    points = grid(recipe, settings)
    folder = sweep_folder(points, out)
    check(points, folder)
    by = metric(by, points[0].recipe)
    if only is not None and not 0 <= only < len(points):
        raise UserError(f"--only {only}: the grid has {len(points)} runs, 0 to {len(points) - 1}.")
    diverged = set[str]()
    for point in _todo(points if only is None else [points[only]], folder, by):
        run = Run(folder / point.name)
        try:
            pretrain(point.recipe, run.folder, resume=True)
            score(run, by)
        except Diverged as error:
            say(f"{point.name}: {error}")
            diverged.add(point.name)
        except (Interrupted, KeyboardInterrupt) as error:
            raise Interrupted(f"stopped in {run.folder}; go on with: {command_line()}") from error
    with locked(folder / LOCK):  # tasks of an array may end together
        swept = _table(points, folder, by, diverged)
        atomic_write_json(folder / TABLE, swept.asdict())
    return swept


def sweep_folder(points: Sequence[Point], out: str | Path | None) -> Path:
    """Where the runs of a grid go.

    Raises:
        UserError: it is a file, or a run.
    """
    usual = default_folder(points[0].recipe)
    folder = Path(out) if out is not None else usual.with_name(f"sweep-{usual.name.rpartition('-s')[0]}")
    if Run(folder).exists() or folder.is_file():
        raise UserError(
            f"{folder} is a {'file' if folder.is_file() else 'run'}; choose a folder for the runs by --out."
        )
    return folder


def check(points: Sequence[Point], folder: Path) -> None:
    """See that all recipes can be carried out, before the first takes its hours.

    Raises:
        UserError: one cannot, or its folder holds another recipe's run.
    """
    for point in points:
        run, recipe = Run(folder / point.name), honoured(settled(point.recipe))
        check_parts(recipe, recipe.hardware.devices)
        if run.exists():
            check_same(run, recipe)
        elif run.foreign():
            raise UserError(f"{run.folder} holds no run, but other files; choose another --out.")


def _todo(points: Sequence[Point], folder: Path, by: str) -> Iterator[Point]:
    """The runs that lack a figure, with a word on each, and on the time left once something is known of it."""
    todo = [point for point in points if known(Run(folder / point.name), by) is None]
    if len(todo) < len(points):
        say(f"{len(points) - len(todo)} of {len(points)} runs are there")
    taken: list[tuple[Point, float]] = []
    for number, point in enumerate(todo):
        left = time_left(todo[number:], taken)
        say(f"{point.name}, {number + 1} of {len(todo)}" + ("" if left is None else f", {duration(left)} left"))
        start = time.monotonic()
        yield point
        taken.append((point, time.monotonic() - start))


def time_left(todo: Sequence[Point], taken: Sequence[tuple[Point, float]]) -> float | None:
    """Seconds for the runs to come: as long as other seeds of the setting took, else by the epochs of all so far.

    None where nothing has been measured.
    """
    if not taken:
        return None
    epochs = sum(point.recipe.epochs for point, _ in taken)
    pace = sum(seconds for _, seconds in taken) / max(epochs, 1)
    seen: dict[tuple[str, ...], list[float]] = {}
    for point, seconds in taken:
        seen.setdefault(point.setting, []).append(seconds)
    return sum(
        statistics.fmean(seen[point.setting]) if point.setting in seen else pace * point.recipe.epochs for point in todo
    )


def _table(points: Sequence[Point], folder: Path, by: str, diverged: set[str]) -> Swept:
    rows = []
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(point.setting, []).append(point)
    for setting, group in groups.items():
        found = {point.recipe.seed: known(Run(folder / point.name), by) for point in group}
        lost = tuple(point.recipe.seed for point in group if point.name in diverged)
        rows.append(
            Row(
                setting,
                group[0].title,
                {seed: value for seed, value in found.items() if value is not None},
                lost,
                tuple(seed for seed, value in found.items() if value is None and seed not in lost),
            )
        )
    runs = {setting: tuple(folder / point.name for point in group) for setting, group in groups.items()}
    return Swept(folder, by, tuple(rows), runs)
