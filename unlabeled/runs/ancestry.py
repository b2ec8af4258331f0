"""Whether weights met the images of a request: read off their lineage, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.backbones import Origin, Seen
from unlabeled.core import run_files
from unlabeled.core.errors import UserError, first_line
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.probes.arrays import Rows
from unlabeled.recipes.training_data import trained_rows, usable
from unlabeled.runs.deletion import Request
from unlabeled.runs.folder import Run


@dataclass(frozen=True)
class Wanted:
    """The images that somebody asked to be deleted, as far as a lineage has to know them.

    Attributes:
        origins: where they came from (``ImageSet.origin``).
        name: what that data was called; steps of older versions say no more.
        fingerprint, total: of all training images.
        rows: which of them they are.
        prints: hashes of their pixels.
    """

    origins: frozenset[str]
    name: str
    fingerprint: str
    total: int
    rows: Rows
    prints: frozenset[str]

    @staticmethod
    def of(kept: Mapping[str, Any]) -> Wanted:
        """The images of a request as ``Request.save`` keeps it.

        Raises:
            UserError: it is broken.
        """
        try:
            return Wanted(
                origins=frozenset(map(str, kept["origins"])),
                name=str(kept["data"]),
                fingerprint=str(kept["fingerprint"]),
                total=int(kept["total"]),
                rows=np.array(kept["rows"], dtype=np.int64),
                prints=frozenset(str(image["print"]) for image in kept["images"] if image["print"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{run_files.REQUEST} is broken ({first_line(error)}); answer the request again."
            ) from error

    def in_data(self, seen: Seen) -> bool:
        """Whether a step learned from the data that the images belong to."""
        return seen.origin in self.origins if seen.origin else seen.name == self.name

    def left_out_by(self, path: str | None) -> bool | None:
        """Whether a forget split leaves all of them out; ``None``: the file is gone, or says nothing of this data."""
        if path is None:
            return False
        try:
            split = ForgetSplit.load(Path(path))
        except UserError:
            return None
        fits = len(split.forget_rows) + len(split.retain_rows) == self.total
        if fits and split.data in ("", self.fingerprint):
            return bool(np.isin(self.rows, split.forget_rows).all())
        kept = {print_.decode() for print_ in split.prints}
        return kept.isdisjoint(self.prints) if kept else None


def met(step: Origin, wanted: Wanted) -> bool | None:
    """Whether a step learned from the images; ``None`` where nobody can tell."""
    if step.data is None:
        return None if step.did == "import" else False
    if not wanted.in_data(step.data):
        return None
    left = wanted.left_out_by(step.data.without)
    if left is None:
        return None
    if left:
        return False
    return True if step.data.without is None and step.data.images >= wanted.total else None


def holds(steps: Sequence[Origin], wanted: Wanted) -> bool:
    """Whether weights must be taken to hold the images: they learned from their data, and did not leave them out.

    A step that learned from an unknown share of that data counts as having met them: a deletion must not hang on luck.
    Forgetting them takes them out again.
    """
    held = False
    for step in steps:
        if step.data is None or not wanted.in_data(step.data):
            continue
        left = wanted.left_out_by(step.data.without) is True
        held = held and not left if step.did == "forget" else held or not left
    return held


def lineage_facts(steps: Sequence[Origin], request: Request) -> list[dict[str, Any]]:
    """The life of a model's weights for the record: each step, and whether it met the images."""
    wanted = Wanted(
        frozenset({request.train.origin}),
        request.train.name,
        request.train.fingerprint,
        len(request.train),
        request.rows,
        frozenset(),
    )
    facts = []
    for step in steps:
        found = met(step, wanted)
        if found is None and step.data is not None and wanted.in_data(step.data):
            found = _by_recipe(step, request)
        facts.append({"step": str(step), "place": step.place, "met_the_images": found})
    return facts


def _by_recipe(step: Origin, request: Request) -> bool | None:
    """The same, from the recipe in the folder that the step wrote, where that is still there."""
    run = Run(step.place)
    if not step.place or not run.exists():
        return None
    try:
        recipe = run.recipe()
        every = usable(request.train, recipe)
        if len(every) != len(request.train):
            return None
        return bool(np.isin(request.rows, trained_rows(every, recipe)).any())
    except UserError:
        return None


def not_covered(facts: Sequence[dict[str, Any]], start: str | None, source: Run) -> list[str]:
    """What a request does not reach, a sentence each: said below the table, and in the record."""
    said = []
    own = str(source.folder.resolve())
    for fact in facts:
        if fact["place"] and str(Path(fact["place"]).resolve()) == own:
            continue  # the model that is made to forget
        if fact["met_the_images"]:
            said.append(
                f"not covered: the weights it came from met these images, too ({fact['step']}, {fact['place']})."
            )
        elif fact["met_the_images"] is None:
            said.append(f"not covered: nobody knows whether a step before met these images ({fact['step']}).")
    shown = [name for name in (run_files.REPORT, run_files.PICTURES) if (source.folder / name).exists()]
    also = f", {' and '.join(shown)} of {source.folder}" if shown else ""
    said.append(
        f"not covered until `unlabeled purge`: the original, its checkpoints, the cache of pixels and features{also}."
    )
    if start is not None and not any(fact["met_the_images"] for fact in facts[:-1]):
        said.append(
            f"not covered: it started from {start}; what those weights have met, it has met, and so has retrain."
        )
    return said
