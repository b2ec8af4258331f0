"""Which images of a model's data a deletion request means: those in the model, those beside it, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.data import ImageSet
from unlabeled.data.catalog import table_file
from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.data.prints import pixel_prints as image_prints
from unlabeled.data.requests import meant
from unlabeled.data.tables import paths_where
from unlabeled.probes.arrays import Rows
from unlabeled.recipes.schema import DataConfig
from unlabeled.recipes.training_data import held_out, pixel_prints, retained, trained_rows, usable
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of, splits_of
from unlabeled.runs.models import input_size

BY_IMAGE = ("files:", "indices:", "column:")
"""Requests that name single images, and not a class or a share."""
SHORTEST_NAME = 6
"""Of a path's end that is searched for: shorter ones are found in anything."""


@dataclass(frozen=True)
class Request:
    """A request, and the data it is about.

    Attributes:
        train: the images the model could learn from, all of them.
        test: the held-out images.
        trained: the rows of ``train`` that are in the model.
        split: the request, in positions of ``trained``.
        beside: images that the request names and the model does not hold, each with its set and row there.
    """

    train: ImageSet
    test: ImageSet
    trained: Rows
    split: ForgetSplit
    beside: tuple[tuple[str, ImageSet | None, int], ...] = ()

    @property
    def rows(self) -> Rows:
        """Which rows of ``train`` are to be forgotten."""
        return self.trained[self.split.forget_rows]

    def left_out(self, *, prints: bool) -> ForgetSplit:
        """All rows of ``train`` that are not in the model any more, or never were.

        Args:
            prints: note the kept images' hashes, too, by which they are known when images have come or gone.
        """
        kept = self.trained[self.split.retain_rows]
        gone = np.setdiff1d(np.arange(len(self.train)), kept)
        left = replace(self.split, forget_rows=gone, retain_rows=kept, noisy_labels=None)
        if not prints:
            return left
        return replace(left, data=self.train.fingerprint, prints=pixel_prints(self.train.subset(kept)))

    def with_rows(self, more: Rows) -> Request:
        """The request with further positions of ``trained`` to forget."""
        gone = np.union1d(self.split.forget_rows, more).astype(np.int64)
        kept = np.setdiff1d(np.arange(len(self.trained)), gone)
        if not len(kept):
            raise UserError(f"--forget {self.split.spec} and all copies are all there is; train a new model.")
        return replace(self, split=replace(self.split, forget_rows=gone, retain_rows=kept))

    def save(self, folder: Run) -> None:
        """Keep what ``unlabeled purge`` looks for; it removes the file itself, too."""
        images = [(path, part, row) for path, part, row in self.beside]
        names = self.train.paths
        images += [(names[row] if names else "", self.train, row) for row in self.rows.tolist()]
        held = [
            {"name": name, "print": image_prints(part, np.array([row]))[0] if part is not None else ""}
            for name, part, row in images
        ]
        content = {
            "origins": sorted({part.origin for _, part, _ in images if part is not None} | {self.train.origin}),
            "data": self.train.name,
            "fingerprint": self.train.fingerprint,
            "shape": list(self.train.shape),
            "rows": self.rows.tolist(),
            "total": len(self.train),
            "images": held,
            "names": _shortest(
                [name for name, _, _ in images if name], [*(self.train.paths or ()), *(self.test.paths or ())]
            ),
        }
        atomic_write_json(folder.folder / run_files.REQUEST, content)


Scores = Callable[[ImageSet, Rows], "np.ndarray[Any, Any]"]
"""From the training images and the rows of them that are in the model to how much each of those was memorised."""


def request_of(
    source: Run, what: str, data: str | None, data_dir: str | None, seed: int, scores: Scores | None = None
) -> Request:
    """Open the model's data and find what a request means.

    Args:
        scores: asked by ``memorised:`` alone, for it takes long.

    Raises:
        UserError: no such data, or the request names nothing in the model.
    """
    config = _data_of(source, data, data_dir)
    train, test = splits_of(config, rule_of(source, config))
    every = train
    if source.exists():
        train = usable(train, source.recipe())
    trained = rows_in(train, source)
    elsewhere = _elsewhere(every, train, trained, test)
    named = _named(what, config)
    found = scores(train, trained) if scores is not None and what.startswith("memorised:") else None
    split = _split(what, train, trained, source, seed, elsewhere, named, found)
    beside = _beside(what, elsewhere, (test, every), train.paths or (), named)
    judged = held_out(source.left_out, train, test) if source.left_out.is_file() else test
    return Request(train, judged, trained, split, beside)


def refuse_other_request(folder: Run, split: ForgetSplit) -> None:
    """Keep the record of a request from being replaced by that of another.

    Raises:
        UserError: the folder answers another one.
    """
    path = folder.folder / run_files.SPLIT
    if path.is_file() and not np.array_equal((kept := ForgetSplit.load(path)).forget_rows, split.forget_rows):
        raise UserError(
            f"{folder.folder} holds the answer to another request ({kept.description}); choose another --out."
        )


def _data_of(source: Run, data: str | None, data_dir: str | None) -> DataConfig:
    # all rows: a request counts those that an earlier one made the model forget, too
    config = data_of(source, data, data_dir).model_copy(update={"without": None})
    if source.exists():
        return config
    channels, size, _ = input_size(source.folder)
    return config.model_copy(update={"channels": channels, "size": size})


def rows_in(images: ImageSet, source: Run) -> Rows:
    """The rows of its usable images that are in a model: those it was trained on, less those it was made to forget."""
    if source.left_out.is_file():
        return retained(source.left_out, images)
    return trained_rows(images, source.recipe()) if source.exists() else np.arange(len(images))


def _elsewhere(every: ImageSet, train: ImageSet, trained: Rows, test: ImageSet) -> dict[str, str]:
    """The files of images that are not in the model, each with the reason."""
    out = dict.fromkeys(test.paths or (), "held out and never trained on")
    out |= dict.fromkeys(every.paths or (), "without a label and not trained on")
    out |= dict.fromkeys(train.paths or (), "forgotten before or never trained on")
    held = {train.paths[row] for row in trained} if train.paths else set()
    return {path: why for path, why in out.items() if path not in held}


def _beside(
    what: str,
    elsewhere: dict[str, str],
    sets: tuple[ImageSet, ...],
    paths: tuple[str, ...],
    named: Sequence[str] | None,
) -> tuple[tuple[str, ImageSet | None, int], ...]:
    """The images that a request names by path and the model does not hold, wherever else they are kept."""
    if what.startswith("files:"):
        named = list(meant(what, what.partition(":")[2], [*paths, *elsewhere]).values())
    if named is None:
        return ()
    named = list(dict.fromkeys(named))
    rows = {path: (part, row) for part in sets for row, path in enumerate(part.paths or ())}
    in_model = set(paths) - set(elsewhere)
    return tuple((path, *rows.get(path, (None, -1))) for path in named if path not in in_model)


def _named(what: str, config: DataConfig) -> list[str] | None:
    """The paths that a ``column:person=17`` request means."""
    if not what.startswith("column:"):
        return None
    column, equals, value = what.removeprefix("column:").partition("=")
    file = table_file(config.name)
    if not equals or file is None:
        why = "write column:NAME=VALUE" if not equals else "only a table of image paths (data=csv:FILE) has columns"
        raise UserError(f"--forget {what}: {why}.")
    return paths_where(file, column, value)


def _split(
    what: str,
    images: ImageSet,
    trained: Rows,
    source: Run,
    seed: int,
    elsewhere: dict[str, str],
    named: Sequence[str] | None,
    scores: np.ndarray[Any, Any] | None,
) -> ForgetSplit:
    train = images if len(trained) == len(images) else images.subset(trained)
    if what.startswith("noisy:"):
        recipe = source.recipe() if source.exists() else None
        gone = source.left_out.is_file() or (recipe is not None and recipe.data.without is not None)
        if recipe is None or recipe.data.corrupt != what or gone:
            raise UserError(
                f"--forget {what}: the model was not trained on these wrong labels; train one that was with "
                f"`unlabeled pretrain supervised data.corrupt={what}`."
            )
        seed = recipe.seed
    return forget_split(
        what,
        len(train),
        train.labels,
        classes=train.classes,
        paths=train.paths,
        elsewhere=elsewhere,
        rows=trained,
        scores=scores,
        named=named,
        seed=seed,
    )


def _shortest(names: list[str], known: list[str]) -> list[str]:
    """For each path the shortest end of whole parts that no other path has: how it may be named anywhere."""
    counts: dict[str, int] = {}
    for path in known:
        for end in _ends(path):
            counts[end] = counts.get(end, 0) + 1
    found = []
    for name in names:
        ends = [end for end in _ends(name) if len(end) >= SHORTEST_NAME and counts.get(end, 0) <= 1]
        found.append(ends[0] if ends else name)
    return found


def _ends(path: str) -> list[str]:
    """The ends of a path, from its last part on: ``c``, ``b/c``, ``a/b/c``."""
    parts = Path(path).parts
    return ["/".join(parts[-count:]).replace("//", "/") for count in range(1, min(len(parts), 4) + 1)]
