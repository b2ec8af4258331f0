"""Train a finished run longer, in a new folder: as if it had been asked for more epochs from the beginning."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_folder, atomic_write_text
from unlabeled.engine.checkpoint import load_checkpoint, save_checkpoint
from unlabeled.recipes.resolve import load_recipe, recipe_yaml
from unlabeled.runs.before_after import look_back
from unlabeled.runs.folder import Run, same_recipe
from unlabeled.verbs.pretrain import pretrain

ENDLESS = ("constant", "infinite")
"""Schedules that are the same however long training is to be."""


def train_more(source: str | Path, epochs: int, out: str | Path | None = None, overrides: Sequence[str] = ()) -> Run:
    """Go on with a finished run for ``epochs`` more, with its optimiser's state, its heads and its queues.

    Args:
        source: the run; it stays as it is.
        epochs: how many more.
        out: the new run's folder; default: beside the run.
        overrides: only ``optimizer.anneal_epochs=N``, which ends the longer training with a falling learning rate.

    Returns:
        The new run.

    Raises:
        UserError: the run has not finished, its schedule has come to an end, or something else is to change.
    """
    old = Run(source)
    recipe = old.recipe()
    if not old.finished():
        raise UserError(f"{source} has not finished; go on with: unlabeled pretrain {source} --resume")
    schedule, annealed = recipe.optimizer.schedule, recipe.optimizer.anneal_epochs
    if schedule not in ENDLESS or annealed:
        why = f"anneal_epochs={annealed:g}" if annealed else f"schedule={schedule}"
        raise UserError(
            f"the learning rate of {source} has come to its end (optimizer.{why}); go on with a run that was trained "
            f"with optimizer.schedule=infinite and not annealed, or start again with backbone.weights={source}."
        )
    longer = load_recipe(old.folder / run_files.RECIPE, [*overrides, f"epochs={recipe.epochs + epochs}"])
    changed = same_recipe(recipe.model_copy(update={"epochs": longer.epochs}), longer)
    if changed not in (None, "optimizer.anneal_epochs"):
        raise UserError(
            f"--more goes on with the same recipe ('{changed}' differs); for other data or settings start with "
            f"backbone.weights={source}."
        )
    new = Run(out if out is not None else f"{old.folder}-{longer.epochs}-epochs")
    if new.folder.exists():
        raise UserError(f"{new.folder} exists; choose another --out.")
    state = load_checkpoint(old.checkpoint)
    with atomic_folder(new.folder) as folder:
        begun = Run(folder)
        atomic_write_text(folder / run_files.RECIPE, recipe_yaml(longer))
        for name in (run_files.METRICS, run_files.DATA):
            shutil.copyfile(old.folder / name, folder / name)
        save_checkpoint(begun.checkpoint, dataclasses.replace(state, total=longer.epochs * state.per_epoch))
    trained = pretrain(longer, new.folder, resume=True)
    look_back(trained, old.folder)
    return trained
