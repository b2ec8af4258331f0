"""Say what models are worth: every task of a suite for each of them, as one table with paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, atomic_write_text, expect_file
from unlabeled.core.progress import progress, say
from unlabeled.evaluation.compatibility import Representation, compatibility
from unlabeled.evaluation.layers import layerwise_cka
from unlabeled.evaluation.suite import Pair, Table, joined, load_suite
from unlabeled.evaluation.tasks import BETWEEN, TASKS, Outcome, TaskConfig
from unlabeled.evaluation.tasks.between import represented
from unlabeled.evaluation.without_labels import readings
from unlabeled.report.evaluation import evaluation_page
from unlabeled.runs.models import check_model
from unlabeled.runs.workbench import Workbench


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
    represents: dict[tuple[str, str], Representation] = {}
    reasons: dict[str, str] = {}
    unsupervised = {}
    with progress("evaluate", len(names) * len(tasks)) as tick:
        for name in names:
            bench = Workbench(name, data_dir, seed)
            for task in tasks:
                try:
                    if task.task in BETWEEN:
                        represents[name, task.name] = represented(task, bench)
                    else:
                        outcomes[name, task.name] = TASKS[task.task](task, bench)
                except UserError as error:
                    reasons.setdefault(task.name, f"{name}: {error}")
                    say(f"{name}: skipping '{task.name}': {error}")
                tick(1, f"{name}: {task.name}")
            unsupervised[name] = readings(bench, list(bench.seen.values()))
    table = joined(names, tasks, outcomes, reasons, unsupervised, pairs_of(names, tasks, represents))
    if not table.tasks and not table.pairs:
        raise UserError(f"no task of the suite can be done; the first: {next(iter(table.skipped.values()))}")
    content = table.asdict()
    if json_file is not None:
        atomic_write_json(json_file, content)
    if page_file is not None:
        atomic_write_text(page_file, evaluation_page(content))
        say(f"wrote {page_file}")
    return table


def pairs_of(
    models: Sequence[str], tasks: Sequence[TaskConfig], represents: dict[tuple[str, str], Representation]
) -> tuple[Pair, ...]:
    """Each model in the place of each other one, on every task that compares models."""
    found = []
    for task in tasks:
        known = [(name, represents[name, task.name]) for name in models if (name, task.name) in represents]
        for new, ours in known:
            for old, theirs in known:
                if new != old:
                    cka = layerwise_cka(ours.layers, theirs.layers).tolist()
                    layers = (tuple(ours.layers), tuple(theirs.layers))
                    found.append(Pair(task.name, new, old, compatibility(ours, theirs), *layers, cka))
    return tuple(found)
