"""Remove what still holds the images of a request that was answered, and write down what went and what did not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlabeled.core import chain, run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, cache_dir, remove
from unlabeled.core.words import command
from unlabeled.data.cache import Kept, forget_made_of, made_of
from unlabeled.runs.ancestry import Wanted, holds
from unlabeled.runs.family import Found, family, steps_of
from unlabeled.runs.folder import Run
from unlabeled.runs.traces import named_in

EXPORTED = ("config.json", "model.safetensors", "lineage.json", "README.md")
"""What a folder of weights alone holds; nothing else in it is removed."""
INSIDE = ("models", "rows", f"{run_files.PICTURES}/embedding.png")
"""What forgetting left of the original and of the images' embeddings in an answer's ``forgetting/``."""


@dataclass(frozen=True)
class Purged:
    """What was done (or, in a dry run, would be), and what is left to do by hand."""

    run: Run
    removed: list[str] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)
    searched: int = 0


def purge(run: str | Path, further: Sequence[str | Path] = (), *, dry_run: bool = False) -> Purged:
    """Walk the life of a run that was made to forget, and remove what holds the images.

    Removed are the runs that met them in the same life (weights, checkpoints, classifiers, probes, pictures, pages),
    decoded pixels, features and prepared stages of their data, retrained networks that met them, embeddings and
    intermediate networks of the request itself, and its list of names and hashes. The record then holds one salted hash
    of all images. Records of other requests, the data itself, and what was made of other data stay.

    Args:
        run: the result of ``forget``.
        further: folders to look in besides those in which the run and what it came from lie.
        dry_run: remove nothing, only say what would go.

    Raises:
        UserError: the run answers no request or is not whole, another process works in a run, or a record is broken.
    """
    answer = Run(run)
    kept = _request(answer)
    wanted = Wanted.of(kept)
    if not answer.finished() or holds(steps_of(answer.folder), wanted):
        raise UserError(f"{answer.folder} is not whole, or its weights hold the images themselves: answer it again.")
    found = family(answer, wanted, [Path(each) for each in further])
    answers = [Run(each.folder) for each in found if each.related and _answers(Run(each.folder), wanted)]
    gone = [each for each in found if each.holds and (each.related or each.cached)]
    left = [each for each in found if each.holds and each not in gone]
    pages = [path for each in found if each.same_data and each not in gone for path in _shown(each)]
    parts = [each.folder / run_files.FORGETTING / name for each in answers for name in INSIDE]
    inside = [path for path in parts if path.exists()]
    cached = made_of(wanted.origins, wanted.prints, tuple(kept.get("shape", ())))
    removed = [*(_said(each) for each in gone), *map(str, (*pages, *inside)), *(str(each.path) for each in cached)]
    if dry_run:
        return Purged(answer, removed, [_unrelated(each) for each in left])
    with ExitStack() as locks:
        for folder in (one.folder for one in found if one.is_run and one.same_data):
            locks.enter_context(Run(folder).lock())
        for whole in answers:
            chain.verify(whole.folder / run_files.CHAIN)
        removed = _carry_out(gone, [*pages, *inside], cached)
        _clean_lists(found, kept)
        places = [*(each.folder for each in found if each not in gone), cache_dir()]
        lists = {each.folder.resolve() / run_files.REQUEST for each in answers}
        records = {each.folder.resolve() / run_files.RECORD for each in answers}
        named, searched = named_in(places, kept.get("names", ()), sorted(wanted.prints))
        said = _not_covered(kept, left, [path for path in named if path.resolve() not in lists | records])
        for home in answers:
            _record(home, removed, said, searched)
        for home in answers:
            remove(home.folder / run_files.REQUEST)
    for each in gone:
        _leave_no_shell(each.folder)
    return Purged(answer, removed, said, searched)


def _request(answer: Run) -> dict[str, Any]:
    if not answer.forgets():
        raise UserError(f"{answer.folder} was not made by `unlabeled forget`: there is no request to purge.")
    kept = answer.read_json(run_files.REQUEST)
    if not kept:
        raise UserError(
            f"{answer.folder} has no {run_files.REQUEST}: it was purged before (see "
            f"`{command('record', 'verify', answer.folder)}`), or was made by an older version."
        )
    return kept


def _answers(run: Run, wanted: Wanted) -> bool:
    """Whether a run is an answer to the same request: the result, or a network that was kept beside it."""
    kept = run.read_json(run_files.REQUEST)
    return bool(kept) and Wanted.of(kept).prints <= wanted.prints


def _shown(found: Found) -> list[Path]:
    """Pages of a run on the same data, which may show any image, held-out ones too; pictures where it met them."""
    names = (run_files.REPORT, *((run_files.PICTURES,) if found.holds else ()))
    return [path for name in names if found.is_run and (path := found.folder / name).exists()]


def _said(found: Found) -> str:
    return f"{found.folder} (its weights met the images)"


def _unrelated(found: Found) -> str:
    return (
        f"{found.folder} met the images in a life of its own; answer the request there, too "
        f"({command('forget', found.folder, '--forget', '…')}), or remove it."
    )


def _carry_out(gone: Sequence[Found], paths: Sequence[Path], cached: Sequence[Kept]) -> list[str]:
    removed = [f"{each.path}" for each in forget_made_of(cached)]
    for path in paths:
        remove(path)
        removed.append(str(path))
    for each in gone:
        removed.append(_said(each))
        if each.cached:  # a retrained network: CACHE/forgetting/KEY/run, its weights, and the rows it left out
            remove(each.folder.parent.with_suffix(".npz"))
            remove(each.folder.parent)
        elif each.is_run:
            first = (run_files.BACKBONE, run_files.CHECKPOINTS, "export")
            for name in (*first, *(n for n in run_files.WRITTEN if n not in (*first, run_files.CHAIN))):
                remove(each.folder / name)
        else:
            for name in EXPORTED:
                remove(each.folder / name)
    return removed


def _clean_lists(found: Sequence[Found], kept: dict[str, Any]) -> None:
    """Take the images' names out of the lists of files that could not be read."""
    names = {str(image["name"]) for image in kept["images"]}
    for run in (Run(each.folder) for each in found if each.same_data):
        data = run.read_json(run_files.DATA)
        bad = [entry for entry in data.get("bad_files") or [] if str(entry[0]) not in names]
        if len(bad) != len(data.get("bad_files") or []):
            atomic_write_json(run.folder / run_files.DATA, {**data, "bad_files": bad})


def _not_covered(kept: dict[str, Any], left: Sequence[Found], named: Sequence[Path]) -> list[str]:
    said = [_unrelated(each) for each in left]
    there = sum(Path(image["name"]).is_file() for image in kept["images"] if image["name"])
    if there:
        said.append(
            f"{there} of the images' files still lie in {kept['data']}; what reads that folder reads them again."
        )
    said += [f"{path} still names some of the images." for path in named]
    return [*said, "backups, copies elsewhere, exports outside these folders, and what was uploaded."]


def _record(answer: Run, removed: list[str], said: list[str], searched: int) -> None:
    path, entries = answer.folder / run_files.RECORD, chain.verify(answer.folder / run_files.CHAIN)
    images = next(entry["content"]["images"] for entry in reversed(entries) if entry["what"] == "forget")
    record = {**answer.read_json(run_files.RECORD), "images": images, "not_covered": said}
    content = {"removed": removed, "not_covered": said, "searched_files": searched, "record": chain.digest(record)}
    chain.append(answer.folder / run_files.CHAIN, "purge", content)
    atomic_write_json(path, record)


def _leave_no_shell(folder: Path) -> None:
    with suppress(OSError):  # something else lies in it, the record of an earlier request for instance
        if [entry.name for entry in folder.iterdir()] in ([], [run_files.LOCK]):
            (folder / run_files.LOCK).unlink(missing_ok=True)
            folder.rmdir()
