"""The images a recipe trains on: opened, then reduced or corrupted as its ``data`` section asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet, open_data
from unlabeled.probes.arrays import Rows
from unlabeled.probes.fewshot import labelled_rows
from unlabeled.probes.forgetting.split import ForgetSplit, forget_split
from unlabeled.recipes.schema import Recipe


def training_images(recipe: Recipe) -> ImageSet:
    """Open the training split of ``recipe.data``, with the share of labels, corruption and omissions it names.

    Raises:
        UserError: the data cannot be had, or lack the labels that are asked for.
    """
    data = recipe.data
    images = open_data(
        data.name,
        "train",
        data_dir=data.dir,
        size=data.size,
        channels=data.channels,
        max_bad_fraction=data.max_bad_fraction,
        store=data.store,
    )
    return _as_asked(images, recipe)


def labelled_part(images: ImageSet, recipe: Recipe) -> Rows:
    """The rows whose labels a recipe with ``data.labels`` may use; all rows without it.

    Raises:
        UserError: the data has no labels, or the share is not understood.
    """
    if recipe.data.labels is None:
        return np.arange(len(images))
    _, codes = np.unique(images.require_labels("data.labels"), return_inverse=True)
    return labelled_rows(codes, recipe.data.labels, recipe.seed, "labels")


def trained_rows(images: ImageSet, recipe: Recipe) -> Rows:
    """The rows a recipe trains on: those whose labels it may use, less those that ``data.without`` leaves out.

    Raises:
        UserError: as :func:`training_images`.
    """
    rows = labelled_part(images, recipe)
    return rows if recipe.data.without is None else rows[retained(Path(recipe.data.without), len(rows), recipe)]


def retained(path: Path, count: int, recipe: Recipe) -> Rows:
    """The rows that a forget split leaves of ``count`` images.

    Raises:
        UserError: it is no split, or one of other data.
    """
    split = ForgetSplit.load(path)
    if len(split.forget_rows) + len(split.retain_rows) != count:
        raise UserError(f"data.without: {path} was made for other data than '{recipe.data.name}'.")
    return split.retain_rows


def _as_asked(images: ImageSet, recipe: Recipe) -> ImageSet:
    """Leave out a forget set, or corrupt the labels of one."""
    data = recipe.data
    if data.labels is not None:
        images = images.subset(labelled_part(images, recipe))
    if data.corrupt is not None:
        if not data.corrupt.startswith("noisy:"):
            raise UserError(f"data.corrupt: '{data.corrupt}' must be like noisy:60%@0-4.")
        labels = images.require_labels("data.corrupt")
        split = forget_split(data.corrupt, len(images), labels, classes=images.classes, seed=recipe.seed)
        images = images.relabelled(split.training_labels(labels))
    if data.without is not None:
        images = images.subset(retained(Path(data.without), len(images), recipe))
    return images
