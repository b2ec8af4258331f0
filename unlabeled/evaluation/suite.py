"""Suites as data: a YAML list of tasks, and the table that several models make of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from scipy.stats import spearmanr

from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.evaluation.tasks import BETWEEN, TASKS, Outcome, TaskConfig
from unlabeled.evaluation.without_labels import READINGS
from unlabeled.probes.intervals import mean_interval

MAX_BYTES = 1_000_000
SCHEMA = "unlabeled.evaluate/1"
"""Of the file that ``--json`` writes; docs/evaluate.md describes it."""


def builtin_suites() -> dict[str, Path]:
    """Names and files of the suites that come with the package."""
    return {path.stem: path for path in sorted(Path(str(files("unlabeled.evaluation") / "suites")).glob("*.yaml"))}


def load_suite(source: str | Path) -> list[TaskConfig]:
    """The tasks of a built-in suite, or of a YAML file.

    Raises:
        UserError: there is no such suite, it is not a list of tasks, a task is unknown, or two have one title.
    """
    suites, text = builtin_suites(), str(source)
    path = suites.get(text, Path(text).expanduser())
    if not path.is_file():
        raise UserError(
            f"there is no suite '{text}'; choose {', '.join(suites)} or a YAML file.{nearest(text, suites)}"
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than a suite can be; is it the right file?")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML ({first_line(error)}).") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} must be a YAML list of tasks, each like {{task: classify, data: cifar10}}.")
    tasks: list[TaskConfig] = []
    for number, entry in enumerate(entries, 1):
        try:
            tasks.append(TaskConfig.model_validate(entry))
        except ValidationError as error:
            said = error.errors()[0]
            where = ".".join(map(str, said["loc"])) or "it"
            raise UserError(f"{path}, task {number}: {where}: {first_line(ValueError(said['msg']))}.") from error
        known = (*TASKS, *BETWEEN)
        if tasks[-1].task not in known:
            raise UserError(f"{path}, task {number}: no task '{tasks[-1].task}'.{nearest(tasks[-1].task, known)}")
    names = [task.name for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: two tasks are called '{twice}'; give one a title.")
    return tasks


@dataclass(frozen=True)
class Pair:
    """One model in the place of another.

    Attributes:
        task: title of the task that compared them.
        new, old: models.
        measures: see :func:`~unlabeled.evaluation.compatibility.compatibility`.
        new_layers, old_layers: names, from the first layer to the last.
        cka: of each layer of the new one with each of the old one's.
    """

    task: str
    new: str
    old: str
    measures: Mapping[str, float]
    new_layers: tuple[str, ...]
    old_layers: tuple[str, ...]
    cka: Sequence[Sequence[float]]

    def asdict(self) -> dict[str, Any]:
        """Plain data; None for what is not known."""
        names = {"task": self.task, "new": self.new, "old": self.old, "new_layers": list(self.new_layers)}
        cka = [[finite(value) for value in row] for row in self.cka]
        measures = {name: finite(value) for name, value in self.measures.items()}
        return {**names, "old_layers": list(self.old_layers), "measures": measures, "cka": cka}


def finite(value: float) -> float | None:
    """The value, or None where it is none: JSON has no NaN."""
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Table:
    """What several models reached.

    Attributes:
        models: rows, in order.
        tasks: titles of the columns, in which at least one model has a figure.
        skipped: tasks that not every model has a figure in, with the first reason.
        outcomes: by (model, task).
        unsupervised: by model, what measures without labels say of it (mean over data sets), by measure.
        pairs: models in each other's place.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    skipped: Mapping[str, str]
    outcomes: Mapping[tuple[str, str], Outcome]
    unsupervised: Mapping[str, Mapping[str, float]]
    pairs: tuple[Pair, ...] = ()

    def average(self, model: str) -> float:
        """Mean over the columns that every model has a figure in; NaN without any."""
        common = [self.outcomes[model, task].value for task in self.tasks if task not in self.skipped]
        return float(np.mean(common)) if common else float("nan")

    def column_mean(self, task: str) -> float:
        """Mean over the models that have a figure."""
        return float(np.mean([self.outcomes[m, task].value for m in self.models if (m, task) in self.outcomes]))

    def differences(self) -> list[dict[str, Any]]:
        """Each pair of models on each task that both have a figure in: ``first`` less ``second`` on the same images.

        ``interval`` holds 95 %: Student's over images (or episodes) where the figure is their mean, else the
        percentiles of the differences on resamples of the images; None where nothing varies, or for a single count.
        """
        found = []
        for (first, second), task in itertools.product(itertools.combinations(self.models, 2), self.tasks):
            a, b = (self.outcomes.get((model, task)) for model in (first, second))
            if a is not None and b is not None:
                one = {"first": first, "second": second, "task": task, "difference": a.value - b.value}
                interval, images = between(a, b)
                found.append({**one, "interval": None if interval is None else list(interval), "images": images})
        return found

    def rank_correlations(self) -> dict[str, float]:
        """Spearman's correlation, over 3 models or more, of what each measure without labels holds of a model with its
        average."""
        averages = [self.average(model) for model in self.models]
        if len(self.models) < 3 or not np.isfinite(averages).all():
            return {}
        found = {}
        for name, reading in READINGS.items():
            values = [reading.merit(self.unsupervised[model].get(name, float("nan"))) for model in self.models]
            if np.isfinite(values).all() and len(set(values)) > 1 and len(set(averages)) > 1:
                found[name] = float(spearmanr(values, averages).statistic)
        return found

    def _row(self, model: str) -> list[tuple[str, Outcome]]:
        return [(task, self.outcomes[model, task]) for task in self.tasks if (model, task) in self.outcomes]

    def asdict(self) -> dict[str, Any]:
        """Plain data, the schema of the JSON file."""
        return {
            "schema": SCHEMA,
            "models": list(self.models),
            "tasks": list(self.tasks),
            "skipped": dict(self.skipped),
            "values": {m: {t: found.value for t, found in self._row(m)} for m in self.models},
            "average": {m: None if np.isnan(self.average(m)) else self.average(m) for m in self.models},
            "column_mean": {t: self.column_mean(t) for t in self.tasks},
            "measures": {m: {t: found.measures for t, found in self._row(m)} for m in self.models},
            "differences": self.differences(),
            "without_labels": {m: dict(self.unsupervised.get(m, {})) for m in self.models},
            "rank_correlations": self.rank_correlations(),
            "curves": {m: {t: o.curve.points for t, o in self._row(m) if o.curve} for m in self.models},
            "over": {t: o.curve.over for m in self.models for t, o in self._row(m) if o.curve},
            "pairs": [pair.asdict() for pair in self.pairs],
        }


def between(a: Outcome, b: Outcome) -> tuple[tuple[float, float] | None, int]:
    """The 95 % interval of the difference of two outcomes of one task, and over how many images."""
    if a.per_image is not None and b.per_image is not None and len(a.per_image) == len(b.per_image):
        return mean_interval((a.per_image - b.per_image).tolist()), len(a.per_image)
    if a.resamples is not None and b.resamples is not None and a.images == b.images:
        low, high = np.quantile(a.resamples - b.resamples, [0.025, 0.975])
        return (None if low == high else (float(low), float(high))), a.images
    return None, 0


def joined(
    models: Sequence[str],
    tasks: Sequence[TaskConfig],
    outcomes: Mapping[tuple[str, str], Outcome],
    reasons: Mapping[str, str],
    unsupervised: Mapping[str, Mapping[str, float]],
    pairs: Sequence[Pair] = (),
) -> Table:
    """The table of the tasks that some model has a figure in; of the others stand the reasons."""
    columns = [task.name for task in tasks if any((model, task.name) in outcomes for model in models)]
    return Table(tuple(models), tuple(columns), dict(reasons), outcomes, unsupervised, tuple(pairs))
