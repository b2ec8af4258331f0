"""The images a recipe trains on: opened, then reduced or corrupted as its ``data`` section asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import say
from unlabeled.data import ImageSet, open_data
from unlabeled.data.forget_sets import PRINT, ForgetSplit, Prints, forget_split
from unlabeled.data.prints import pixel_prints as image_prints
from unlabeled.data.rows import Rows, labelled_rows
from unlabeled.recipes.schema import DataConfig, Recipe
from unlabeled.ssl.methods import METHODS

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def training_images(recipe: Recipe) -> ImageSet:
    """Open the training split of ``recipe.data``, with the share of labels, corruption and omissions it names.

    Raises:
        UserError: the data cannot be had, or lack the labels that are asked for.
    """
    data = recipe.data
    images = open_split(data, "train")
    _, height, width = images.shape
    if height != width:  # every later verb and plain timm take squares: so does training
        side = min(height, width)
        say(f"the images of '{data.name}' are {height}×{width}: their centred {side}×{side} square is used (data.size)")
        images = open_split(data.model_copy(update={"size": side}), "train", images.rule)
    return _as_asked(usable(images, recipe), recipe)


def usable(images: ImageSet, recipe: Recipe) -> ImageSet:
    """All images, or those that have labels where the recipe learns from labels."""
    return images.labelled() if METHODS[recipe.method.name].needs_labels or recipe.data.labels is not None else images


def open_split(data: DataConfig, split: str, rule: PixelRule | None = None) -> ImageSet:
    """Open a split as a recipe's ``data`` section says, with every setting in it.

    Args:
        data: the section.
        split: ``"train"``, ``"test"`` or ``"all"``.
        rule: what the images' numbers mean, where that was decided before.

    Raises:
        UserError: the data cannot be had.
    """
    return open_data(
        data.name,
        split,
        data_dir=data.dir,
        size=data.size,
        channels=data.channels,
        range=data.range,
        window=data.window,
        bands=data.bands,
        holdout=data.holdout,
        label=data.label,
        rule=rule,
        max_bad_fraction=data.max_bad_fraction,
        store=data.store,
    )


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
    if recipe.data.without is None:
        return rows
    return rows[retained(Path(recipe.data.without), images if recipe.data.labels is None else images.subset(rows))]


def retained(path: Path, images: ImageSet) -> Rows:
    """The rows that a forget split leaves of ``images``: by number, or by their pixels where images came or went since.

    Raises:
        UserError: it is not a split, or one of other data.
    """
    split = ForgetSplit.load(path)
    if len(split.forget_rows) + len(split.retain_rows) == len(images) and not _changed(split, images):
        return split.retain_rows
    rows = np.flatnonzero(_known(split, images))
    if not len(rows):
        raise UserError(f"{path} was made for other data than '{images.name}': it holds none of the retain images.")
    return rows


def held_out(path: Path, train: ImageSet, test: ImageSet) -> ImageSet:
    """``test`` without images that a forget split keeps: where images came or went, the rest may be divided again."""
    rows = held_out_rows(path, train, test)
    return test if len(rows) == len(test) else test.subset(rows)


def held_out_rows(path: Path, train: ImageSet, test: ImageSet) -> Rows:
    """The rows of ``test`` that :func:`held_out` leaves."""
    split = ForgetSplit.load(path)
    return np.flatnonzero(~_known(split, test)) if _changed(split, train) else np.arange(len(test))


def _changed(split: ForgetSplit, images: ImageSet) -> bool:
    return split.data not in ("", images.fingerprint)


def _known(split: ForgetSplit, images: ImageSet) -> Mask:
    if not len(split.prints):
        return np.zeros(len(images), dtype=bool)
    return np.isin(pixel_prints(images), split.prints)


def pixel_prints(images: ImageSet) -> Prints:
    """``(N,)`` hashes of the images' pixels, as they are decoded for training."""
    return np.array(image_prints(images), dtype=PRINT)


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
        images = images.subset(retained(Path(data.without), images))
    return images
