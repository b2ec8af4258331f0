"""The runs and folders of weights around a run: which descend from the same training, and which hold the images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unlabeled.backbones import Origin, Seen, read_lineage
from unlabeled.backbones.lineage import FILE
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir
from unlabeled.runs.ancestry import Wanted, holds
from unlabeled.runs.folder import Run
from unlabeled.runs.models import backbone_folder

DEPTH = 5
"""How many folders deep is looked: a run in a project's folder, and an export in the run."""


@dataclass(frozen=True)
class Found:
    """A run, or a folder with weights alone.

    Attributes:
        folder: where it lies.
        is_run: whether it is a run.
        related: whether its weights and those of the run at the centre have learned together, or one from the other.
        same_data: whether a step of its life learned from the data that the images belong to.
        holds: whether its weights must be taken to hold the images.
    """

    folder: Path
    is_run: bool
    related: bool
    same_data: bool
    holds: bool

    @property
    def cached(self) -> bool:
        """Whether it lies in the cache, where retrained networks are kept."""
        return self.folder.is_relative_to(cache_dir().resolve())


def family(run: Run, wanted: Wanted, further: Sequence[Path] = ()) -> list[Found]:
    """Everything with weights that lies beside the run, beside those it came from, in ``further`` and in the cache."""
    steps, own = list(steps_of(run.folder)), {run.folder.resolve()}
    if source := str(run.read_json(run_files.RECORD).get("source", "")):  # a retrained network descends from nothing
        steps += steps_of(Path(source))
        own.add(Path(source).resolve())
    own |= _places(steps)
    beside = [place.parent for place in own] + [cache_dir() / run_files.FORGETTING, *further]
    shared = {step for step in steps if step.data is not None and wanted.in_data(step.data)}
    found: dict[Path, Found] = {}
    for folder, is_run in (each for place in beside for each in _look(place.resolve())):
        if folder in found:
            continue
        life = steps_of(folder)
        forgot = str(Run(folder).read_json(run_files.RECORD).get("source", ""))
        related = folder in own or bool(shared.intersection(life)) or (forgot and Path(forgot).resolve() in own)
        same = any(step.data is not None and wanted.in_data(step.data) for step in life)
        found[folder] = Found(folder, is_run, bool(related), same, holds(life, wanted))
    return list(found.values())


def steps_of(folder: Path) -> tuple[Origin, ...]:
    """The life of a folder's weights; of a run that has not finished, with the step that it is in."""
    run = Run(folder)
    with suppress(UserError):
        if steps := read_lineage(run.backbone if run.backbone.is_dir() else folder):
            return steps
    try:
        recipe, start = run.recipe(), run.recipe().backbone.weights
    except UserError:
        return ()
    before: tuple[Origin, ...] = ()
    with suppress(UserError):
        before = () if start is None or start.startswith("hf-hub:") else read_lineage(backbone_folder(start))
    held = run.read_json(run_files.DATA)
    seen = Seen(
        name=recipe.data.name,
        fingerprint=str(held.get("fingerprint", "")),
        images=int(held.get("images", 0)),
        without=recipe.data.without,
        origin=str(held.get("origin", "")),
    )
    return (*before, Origin(did=recipe.method.name, name=recipe.name, data=seen, place=str(folder)))


def _places(steps: Sequence[Origin]) -> set[Path]:
    """The folders that steps were written to and began from, as far as they are on this machine."""
    names = [step.place for step in steps] + [step.source for step in steps]
    paths = [Path(name.removeprefix("local-dir:")).expanduser().resolve() for name in names if name]
    folders = [path.parent if path.name == run_files.BACKBONE else path for path in paths]
    return {path for path in folders if path.is_dir()}


def _look(place: Path) -> Iterator[tuple[Path, bool]]:
    """Runs and folders of weights, and whether they are runs."""
    for name, folders, files in os.walk(place):
        path = Path(name)
        is_run = run_files.RECIPE in files or (path / run_files.SPLIT).is_file()
        if is_run or FILE in files:
            yield path, is_run
        own = {*run_files.WRITTEN} if is_run else set()
        deep = len(path.relative_to(place).parts) >= DEPTH
        folders[:] = [] if deep else sorted(each for each in folders if each not in own and not each.startswith("."))
