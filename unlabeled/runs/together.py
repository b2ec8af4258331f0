"""The images that runs on the same data have in common: those all hold, those to be forgotten, those none met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet
from unlabeled.data.listing import NoTestSplit
from unlabeled.data.prints import pixel_prints
from unlabeled.probes.arrays import Rows
from unlabeled.recipes.training_data import held_out_rows, open_split, usable
from unlabeled.runs.ancestry import Wanted
from unlabeled.runs.deletion import rows_in
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of


@dataclass(frozen=True)
class Opened:
    """A run and all images of its data, as its training decoded them; ``test`` is ``None`` where it has no such split.

    Attributes:
        holds: rows of ``train`` that are in its weights.
        asked: rows that it was asked to forget; none once that was purged.
        barred: rows that nothing may read in its name: what was purged.
        said: what is not sure about these rows, in a sentence.
    """

    run: Run
    train: ImageSet
    test: ImageSet | None
    holds: Rows
    asked: Rows
    barred: Rows
    said: str = ""


@dataclass(frozen=True)
class Together:
    """Rows of the data that two or more runs share.

    Attributes:
        retain: training images that all of them hold.
        forget: those that some of them were asked to forget.
        unseen: rows of the test split that none of them met.
        held: whether one of the runs still holds each image of ``forget``.
    """

    retain: Rows
    forget: Rows
    unseen: Rows
    held: np.ndarray[tuple[int], np.dtype[np.bool_]]


def opened(run: Run, data_dir: str | None = None) -> Opened:
    """Open a run's data with the rows that it holds, was asked to forget, and must not see.

    Raises:
        UserError: the run or its data cannot be read, or the data has grown since the run was trained.
    """
    config = data_of(run, data_dir=data_dir).model_copy(update={"without": None})
    rule = rule_of(run, config)
    train = open_split(config, "train", rule)
    try:
        test = open_split(config, "test", rule)
    except NoTestSplit:
        test = None
    images, rows = usable(train, run.recipe()), np.arange(len(train))
    if len(images) < len(train):
        rows = train.labelled_rows()
    own, none = rows_in(images, run), np.empty(0, np.int64)
    holds = rows[own]
    if not run.forgets():
        said = _changed(run, images if len(own) == len(images) else images.subset(own))
        return Opened(run, train, test, holds, none, none, said)
    kept = run.read_json(run_files.REQUEST)
    if not kept:  # purged: from now on nobody reads these images in its name
        return Opened(run, train, test, holds, none, np.setdiff1d(np.arange(len(train)), holds))
    wanted = Wanted.of(kept)
    asked = wanted.rows if images.fingerprint == wanted.fingerprint else _by_prints(images, wanted)
    return Opened(run, train, test, holds, np.setdiff1d(rows[asked], holds), none)


def together(runs: Sequence[Opened]) -> Together:
    """What runs on the same data share.

    Raises:
        UserError: they are runs on different data.
    """
    first = runs[0]
    for other in runs[1:]:
        if not same_data(first, other):
            raise UserError(
                f"{first.run.folder} and {other.run.folder} cannot be read on the same images: they were trained on "
                "different data, or on data that changed in between; compare runs on the same data."
            )
    retain, barred = first.holds, first.barred
    for other in runs[1:]:
        retain, barred = np.intersect1d(retain, other.holds), np.union1d(barred, other.barred)
    asked = np.unique(np.concatenate([one.asked for one in runs]))
    forget = np.setdiff1d(asked, barred).astype(np.int64)
    held = np.isin(forget, np.concatenate([one.holds for one in runs]))
    unseen = np.arange(0 if first.test is None else len(first.test))
    for one in runs:
        if one.test is not None and one.run.left_out.is_file():
            unseen = np.intersect1d(unseen, held_out_rows(one.run.left_out, one.train, one.test))
    return Together(np.setdiff1d(retain, barred), forget, unseen, held)


def without_requests(found: Together, others: Sequence[Opened]) -> Together:
    """The same without retained images that other runs were asked to forget, or were purged of."""
    gone = [rows for one in others for rows in (one.asked, one.barred)]
    return replace(found, retain=np.setdiff1d(found.retain, np.concatenate(gone))) if gone else found


def _changed(run: Run, images: ImageSet) -> str:
    """What to say where the images of a run are not those it was trained on any more.

    Raises:
        UserError: there are more of them now: which are new, nobody knows.
    """
    before = run.read_json(run_files.DATA)
    count, print_ = before.get("images"), before.get("fingerprint")
    if not isinstance(count, int) or print_ == images.fingerprint:
        return ""
    if len(images) > count:
        raise UserError(
            f"{run.folder} was trained on {count} images, and its data has {len(images)} now: which of them it met is "
            "not known; put the data back as it was, or train again."
        )
    return (
        f"The data of {run.folder} changed since it was trained ({count} images then, {len(images)} now): those that "
        "are there now are taken for trained on."
    )


def _by_prints(images: ImageSet, wanted: Wanted) -> Rows:
    """The rows of images that are known by their pixels, where others came or went since they were counted."""
    return np.flatnonzero(np.isin(pixel_prints(images), sorted(wanted.prints)))


def same_data(one: Opened, other: Opened) -> bool:
    """Whether two runs were trained on the same data as it is now, so that rows mean the same images."""
    return _identity(one) == _identity(other)


def _identity(one: Opened) -> tuple[object, ...]:
    size = None if one.test is None else len(one.test)
    return one.train.origin or one.train.name, one.train.paths, len(one.train), size
