"""A folder of image files as a source: any depth, classes and splits where its subfolders show them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.decode import EXTENSIONS
from unlabeled.data.images import BadFile
from unlabeled.data.listing import Listing, number_classes, pick_split, printable, split_rows

MOST_STRAYS = 0.1
"""Fraction of images beside the class folders up to which these are still taken for classes."""
_NOTES = frozenset((
    ".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".md", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini", ".log",
    ".part", ".lock", ".py",
))  # fmt: skip
"""Endings of files that usually lie beside images and are none."""


def folder(root: Path, split: str, held: float | None = None) -> Listing:
    """List the images below ``root``.

    Subfolders ``train`` and ``test`` (or ``val``, …) are its splits; otherwise ``held`` of it (a fifth) is the test
    split, and nothing of a lone ``train``. The folders on the first level are classes if there are at least two and
    hardly an image lies beside them: such strays are left out, and named.

    Raises:
        UserError: the folder is missing, is a file, may not be read, or holds no images.
    """
    if not root.exists():
        raise UserError(f"there is no folder {printable(root)}; check the path.")
    if not root.is_dir():
        raise UserError(f"{printable(root)} is a file; give the folder of images, or a .csv, .parquet or .npz file.")
    try:
        subfolders = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"the folder {printable(root)} cannot be read: {error.strerror}.") from error
    train, test = pick_split(subfolders, "train"), pick_split(subfolders, "test")
    if train and test:
        found = {name: scan(root / name) for name in (train, test)}
        return _listed(root / (test if split == "test" else train), found)
    # A lone "train" is a split; beside other folders it may be a class.
    alone = train is not None and len(subfolders) == 1
    base = root / train if train and alone else root
    scanned = scan(base)
    listed = _listed(base, {base.name: scanned})
    names = [scanned.files[row] for row in _in_classes(scanned.files)] if listed.labels is not None else scanned.files
    rows, note = split_rows(len(names), listed.labels, split, printable(base), names, held=held, only_train=alone)
    return replace(listed, rows=rows, note=note)


class Scanned(NamedTuple):
    """What lies below a folder: relative paths of image files, sorted; unreadable folders; other files by ending."""

    files: list[str]
    bad: list[BadFile]
    others: Counter[str]


def _listed(root: Path, found: dict[str, Scanned]) -> Listing:
    files, bad, others = found[root.name]
    require_images(root, found[root.name])
    lines = left_out(root, others)
    labels, classes = None, None
    if names := _classes(files):
        strays = sorted(set(range(len(files))) - set(_in_classes(files)))
        if strays:
            first = ", ".join(printable(files[row]) for row in strays[:3])
            lines.append(
                f"{printable(root)}: {len(strays)} of {len(files)} images lie beside the class folders and are left "
                f"out ({first}{', …' if len(strays) > 3 else ''})"
            )
        files = [files[row] for row in _in_classes(files)]
        # Classes that only one of the splits has are numbered for both.
        names = {name for part in found.values() for name in _classes(part.files)}
        numbers, ordered = number_classes(sorted(names))
        number = dict(zip(sorted(names), numbers.tolist(), strict=True))
        labels = np.array([number[_first(file)] for file in files], dtype=np.int64)
        classes = tuple(map(printable, ordered))
    elif len({_first(file) for file in files if os.sep in file}) > 1:
        lines.append(
            f"{printable(root)}: {sum(os.sep not in file for file in files)} of {len(files)} images lie beside the "
            "folders, which are therefore not taken for classes"
        )
    return Listing(
        read=lambda i: Path(root, files[i]),
        names=[printable(os.path.join(root, file)) for file in files],  # noqa: PTH118 (a million Paths take seconds)
        identity=files_identity(root, files),
        labels=labels,
        classes=classes,
        paths=True,
        place=f"folder {os.fsdecode(root.resolve())}",
        lines=tuple(lines),
        bad=tuple(bad),
    )


def require_images(root: Path, scanned: Scanned) -> None:
    """Refuse a folder without a single image, and say what it holds instead.

    Raises:
        UserError: there is none.
    """
    if scanned.files:
        return
    bad, ignored = scanned.bad, _counted(scanned.others)
    listed = f" ({bad[0].path}: {bad[0].reason})" if bad else f" but {ignored} files" if ignored else ""
    raise UserError(
        f"the folder {printable(root)} holds no images{listed}; looked for .jpg, .png, .webp, .tif, .npy, …."
    )


def left_out(root: Path, others: Counter[str]) -> list[str]:
    """The line that says which files of a folder are of types that nobody reads; none where there are no such files."""
    ignored = _counted(others)
    return [f"{printable(root)}: {ignored} files are of types that are not read and are left out"] if ignored else []


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{count} {printable(ending)}" for ending, count in others.most_common(5))


def _first(file: str) -> str:
    return file.split(os.sep, 1)[0]


def _in_classes(files: Sequence[str]) -> list[int]:
    return [row for row, file in enumerate(files) if os.sep in file]


def _classes(files: Sequence[str]) -> set[str]:
    inside = _in_classes(files)
    names = {_first(files[row]) for row in inside}
    few = len(files) - len(inside) <= MOST_STRAYS * len(files)
    return names if len(names) >= 2 and few else set()


def scan(root: Path) -> Scanned:
    """Look through all that lies below ``root``.

    Every folder is entered once, real ones before symbolic links: so links that form loops end.
    """
    files: list[str] = []
    bad: list[BadFile] = []
    others = Counter[str]()
    seen: set[tuple[int, int]] = set()
    real, links = deque([""]), deque[str]()
    while real or links:
        below = real.popleft() if real else links.popleft()
        path = os.path.join(root, below)  # noqa: PTH118
        try:
            state = os.stat(path)  # noqa: PTH116
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            entries = list(os.scandir(path))
        except OSError as error:
            bad.append(BadFile(printable(path), f"the folder cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            relative = os.path.join(below, entry.name)  # noqa: PTH118
            if _is_dir(entry):
                (links if entry.is_symlink() else real).append(relative)
                continue
            ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if ending in EXTENSIONS:
                files.append(relative)
            elif ending not in _NOTES:
                others[ending or "unnamed"] += 1
    return Scanned(sorted(files), bad, others)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def files_identity(root: Path, files: Iterable[str]) -> str:
    """Hash where the files lie, their names, sizes, times and inodes.

    Of the times, too, the one that no program can set: unpacked or copied files often keep size and time of others.
    """
    hashed = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=16)
    for file in files:
        try:
            state = os.stat(os.path.join(root, file))  # noqa: PTH116, PTH118
            about = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        except (OSError, ValueError):
            about = (-1, -1, -1, -1)
        hashed.update(os.fsencode(file) + b"\0%d\0%d\0%d\0%d\0" % about)
    return hashed.hexdigest()
