"""Say what models are worth: every task of a suite for each of them, as one table with paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, atomic_write_text, expect_file
from unlabeled.core.progress import progress, say
from unlabeled.data import ImageSet, open_data
from unlabeled.data.named import NAMED, find, roots
from unlabeled.evaluation.suite import Table, joined, load_suite
from unlabeled.evaluation.tasks import TASKS, Outcome, TaskConfig
from unlabeled.evaluation.tasks.base import Change
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.measures import effective_rank, rankme
from unlabeled.report.evaluation import evaluation_page
from unlabeled.runs.banks import bank_of
from unlabeled.runs.models import Pixels, check_model, input_size, load_backbone, open_model, unlearned

ROWS_OF_MEASURES = 4096


class Bench:
    """One model's features of any data, from the user's cache where they were made before."""

    def __init__(self, model: str, data_dir: str | None, seed: int) -> None:
        self.model, self.data_dir, self.seed, self.device = model, data_dir, seed, str(chosen())
        self.shape = None if unlearned(model) else input_size(model)
        self.trained: dict[str, FeatureBank] = {}
        self._opened: dict[tuple[str, int, int], Backbone | Pixels] = {}

    def bank(
        self, config: TaskConfig, split: str, *, data: str | None = None, change: Change | None = None
    ) -> FeatureBank:
        images = self._images(config, split, data or config.data)
        if data is None:
            images.require_labels(f"'{config.name}'")
        if change is not None:
            pixels = change(images.gather(np.arange(len(images)))).numpy()
            images = ImageSet(images.name, split, pixels, images.labels, images.classes)
        bank = bank_of(self._open(config, images), images)
        if split == "train" and data is None:
            self.trained[config.data] = bank
        return bank

    def backbone(self) -> Backbone:
        if unlearned(self.model):
            raise UserError(f"'{self.model}' has no size or weights of its own, which masks need.")
        return load_backbone(self.model)

    def folder(self, name: str) -> Path:
        return Path(located(name, self.data_dir).removeprefix("folder:"))

    def _images(self, config: TaskConfig, split: str, data: str) -> ImageSet:
        channels, size = (config.channels, config.size) if self.shape is None else self.shape[:2]
        images = open_data(located(data, self.data_dir), split, data_dir=self.data_dir, size=size, channels=channels)
        if len(images) > config.images:
            rows = rng.numpy_generator(self.seed, "evaluate", data, split).permutation(len(images))[: config.images]
            images = images.subset(np.sort(rows))
        return images

    def _open(self, config: TaskConfig, images: ImageSet) -> Backbone | Pixels:
        # a random network is normalised by the task's own training images, whatever else it is shown
        key = (config.data, config.size, config.channels) if self.shape is None else ("", 0, 0)
        if key not in self._opened:
            like = self._images(config, "train", config.data) if self.shape is None else images
            self._opened[key] = open_model(self.model, like, layer=None, pool=None, seed=self.seed)
        return self._opened[key]


def located(name: str, data_dir: str | None) -> str:
    """What to open a data set as; nothing is downloaded.

    Raises:
        UserError: it is not on this machine.
    """
    root = None if data_dir is None else Path(data_dir).expanduser()
    if name in NAMED:
        if find(name, root) is None:
            raise UserError(f"'{name}' is not on this machine; unlabeled data says where it is looked for")
        return name
    if name == "fashion-mini" or ":" in name or "/" in name:
        return name
    folder = next((place / name for place in roots(root) if (place / name).is_dir()), None)
    if folder is None:
        raise UserError(f"there is no folder '{name}' where data sets lie (--data-dir, $UNLABELED_DATA)")
    return str(folder)


def evaluate(
    models: Sequence[str],
    suite: str | Path = "small",
    *,
    data_dir: str | None = None,
    json_file: Path | None = None,
    page_file: Path | None = None,
    seed: int = 0,
) -> Table:
    """Measure models on every task of a suite.

    Features are extracted once for each model, data set and size, and kept in the user's cache: a second call, or one
    that was interrupted, goes on from there. Everything that is chosen is chosen on training splits.

    Args:
        models: run folders, ``timm:NAME``, ``hf-hub:ID``, ``local-dir:PATH``, ``random:NAME`` or ``pixels``.
        suite: ``small``, ``standard``, or a YAML file.
        data_dir: where data sets are looked for first.
        json_file: write all figures here.
        page_file: write an HTML page here.
        seed: of every draw.

    Returns:
        The table. A task that a model cannot do, or whose data is not here, is skipped, with its reason; averages
        are over the tasks that every model has a figure in.

    Raises:
        UserError: no model, an unknown one or one named twice, a broken suite, or no task that can be done.
    """
    if not models:
        raise UserError("name at least one model to evaluate: a run folder, timm:NAME, random:NAME, a path or pixels.")
    names = [str(model) for model in models]
    if len(set(names)) < len(names):
        raise UserError("a model is named twice; every row of the table is one model.")
    for name in names:
        check_model(name)
    tasks = load_suite(suite)
    for file, default in ((json_file, "evaluation.json"), (page_file, "evaluation.html")):
        if file is not None:
            expect_file(file, default)
    outcomes: dict[tuple[str, str], Outcome] = {}
    reasons: dict[str, str] = {}
    unsupervised = {}
    with progress("evaluate", len(names) * len(tasks)) as tick:
        for name in names:
            bench = Bench(name, data_dir, seed)
            for task in tasks:
                try:
                    outcomes[name, task.name] = TASKS[task.task](task, bench)
                except UserError as error:
                    reasons.setdefault(task.name, f"{name}: {error}")
                    say(f"{name}: skipping '{task.name}': {error}")
                tick(1, f"{name}: {task.name}")
            unsupervised[name] = _without_labels(bench)
    table = joined(names, tasks, outcomes, reasons, unsupervised)
    if not table.tasks:
        raise UserError(f"no task of the suite can be done; the first: {next(iter(table.skipped.values()))}")
    content = table.asdict()
    if json_file is not None:
        atomic_write_json(json_file, content)
    if page_file is not None:
        atomic_write_text(page_file, evaluation_page(content))
        say(f"wrote {page_file}")
    return table


def _without_labels(bench: Bench) -> dict[str, float]:
    """Measures of the training features, averaged over the data sets."""
    found: dict[str, list[float]] = {"rankme": [], "effective_rank": []}
    for bank in bench.trained.values():
        rows: Any = bank.features[:: max(1, len(bank) // ROWS_OF_MEASURES)]
        found["rankme"].append(rankme(rows))
        found["effective_rank"].append(effective_rank(rows))
    return {name: float(np.mean(values)) for name, values in found.items() if values}
