"""Train a finished run longer, in a new folder: on its own images as if it had been asked to at first, or on others."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_folder, atomic_write_text
from unlabeled.engine.batches import Shuffled
from unlabeled.engine.checkpoint import load_checkpoint, save_checkpoint
from unlabeled.recipes.resolve import load_recipe, recipe_yaml
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import training_images
from unlabeled.runs.before_after import look_back
from unlabeled.runs.folder import Run, same_recipe
from unlabeled.runs.models import settled
from unlabeled.runs.outcome import describe
from unlabeled.ssl.method import Method
from unlabeled.ssl.methods import METHODS
from unlabeled.verbs.pretrain import pretrain

ENDLESS = ("constant", "infinite")
"""Schedules that are the same however long training is to be."""


def train_more(source: str | Path, epochs: int, out: str | Path | None = None, overrides: Sequence[str] = ()) -> Run:
    """Go on with a finished run for ``epochs`` more, with its optimiser's state, its heads and its queues.

    Args:
        source: the run; it stays as it is.
        epochs: how many more.
        out: the new run's folder; default: beside the run.
        overrides: ``optimizer.anneal_epochs=N``, which ends the longer training with a falling learning rate; and
            ``data=…``, new images, with all that belongs to them. Epochs are then passes over these; the old run's
            normalisation stays.

    Returns:
        The new run.

    Raises:
        UserError: the run has not finished, its schedule has come to an end, something else is to change, or the
            method learned of its images before training what it cannot learn of the new ones.
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
    elsewhere = longer.data != recipe.data
    changed = same_recipe(recipe.model_copy(update={"epochs": longer.epochs, "data": longer.data}), longer)
    if changed not in (None, "optimizer.anneal_epochs"):
        raise UserError(
            f"--more goes on with the same recipe ('{changed}' differs); for other settings start with "
            f"backbone.weights={source}."
        )
    if elsewhere:
        longer = _on_new_images(old, longer)
    new = Run(out if out is not None else f"{old.folder}-{longer.epochs}-epochs")
    if new.folder.exists():
        raise UserError(f"{new.folder} exists; choose another --out.")
    state = load_checkpoint(old.checkpoint)
    with atomic_folder(new.folder) as folder:
        begun = Run(folder)
        atomic_write_text(folder / run_files.RECIPE, recipe_yaml(longer))
        per_epoch = state.per_epoch
        if elsewhere:
            images = training_images(longer)
            per_epoch = Shuffled(len(images), longer.batch_size).batches_per_epoch()
            describe(begun, images)
        else:
            for name in (run_files.METRICS, run_files.DATA):
                shutil.copyfile(old.folder / name, folder / name)
        done, total = recipe.epochs * per_epoch, longer.epochs * per_epoch
        save_checkpoint(begun.checkpoint, dataclasses.replace(state, step=done, total=total, per_epoch=per_epoch))
    trained = pretrain(longer, new.folder, resume=True)
    look_back(trained, old.folder)
    return trained


def _on_new_images(old: Run, longer: Recipe) -> Recipe:
    """The recipe as one that begins with the old run's weights: so its normalisation stays, and its lineage is told."""
    method = METHODS[longer.method.name]
    if (method.needs_prepare and method.prepared_is_state) or method.sampler is not Method.sampler:
        raise UserError(
            f"what '{longer.method.name}' learned of its images before training is not so of others; for other data "
            f"start with backbone.weights={old.folder}."
        )
    images = training_images(longer)
    shape, known = list(images.shape), old.read_json(run_files.DATA).get("shape")
    if known is not None and shape != known:
        raise UserError(
            f"{old.folder} learned from images of {'×'.join(map(str, known))}, '{longer.data.name}' has "
            f"{'×'.join(map(str, shape))}; set data.size={known[1]} data.channels={known[0]}."
        )
    backbone = longer.backbone.model_copy(update={"weights": str(old.folder)})
    return settled(longer.model_copy(update={"backbone": backbone}))
