"""A folder of image files as a source: any depth, classes and splits where its subfolders show them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.decode import EXTENSIONS
from unlabeled.data.images import BadFile
from unlabeled.data.listing import Listing, number_classes, pick_split, printable, split_rows


def folder(root: Path, split: str) -> Listing:
    """List the images below ``root``.

    Subfolders ``train`` and ``test`` (or ``val``, …) are its splits; otherwise it is split 80/20. The folders on the
    first level are classes if there are at least two and every image lies in one.

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
        found = {name: _scan(root / name) for name in (train, test)}
        return _listed(root / (test if split == "test" else train), split, found)
    # A lone "train" is a split; beside other folders it may be a class.
    base = root / train if train and len(subfolders) == 1 else root
    return _listed(base, split, {base.name: _scan(base)}, halve=True)


def _listed(root: Path, split: str, found: dict[str, tuple[list[str], list[BadFile]]], halve: bool = False) -> Listing:
    files, bad = found[root.name]
    if not files:
        where = printable(root)
        listed = f" ({bad[0].path}: {bad[0].reason})" if bad else ""
        raise UserError(f"the folder {where} holds no images{listed}; looked for .jpg, .png, .webp, .tif, .npy, ….")
    labels, classes = None, None
    if _classes(files):
        # Classes that only one of the splits has are numbered for both.
        names = {name for part, _ in found.values() for name in _classes(part)}
        numbers, ordered = number_classes(sorted(names))
        number = dict(zip(sorted(names), numbers.tolist(), strict=True))
        labels = np.array([number[_first(file)] for file in files], dtype=np.int64)
        classes = tuple(map(printable, ordered))
    rows, note = split_rows(len(files), labels, split, printable(root), files) if halve else (None, "")
    return Listing(
        read=lambda i: Path(root, files[i]),
        names=[printable(os.path.join(root, file)) for file in files],  # noqa: PTH118 (a million Paths take seconds)
        identity=files_identity(root, files),
        labels=labels,
        classes=classes,
        paths=True,
        rows=rows,
        bad=tuple(bad),
        note=note,
    )


def _first(file: str) -> str:
    return file.split(os.sep, 1)[0]


def _classes(files: Sequence[str]) -> set[str]:
    names = {_first(file) if os.sep in file else "" for file in files}
    return names if len(names) >= 2 and "" not in names else set()


def _scan(root: Path) -> tuple[list[str], list[BadFile]]:
    """Return the relative paths of all image files below ``root``, sorted, and the folders that cannot be read.

    Every folder is entered once, real ones before symbolic links: so links that form loops end.
    """
    files: list[str] = []
    bad: list[BadFile] = []
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
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122
                files.append(relative)
    return sorted(files), bad


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def files_identity(root: Path, files: Iterable[str]) -> str:
    """Hash where the files lie, their names, sizes and times of change."""
    hashed = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=16)
    for file in files:
        try:
            state = os.stat(os.path.join(root, file))  # noqa: PTH116, PTH118
            about = (state.st_size, state.st_mtime_ns)
        except (OSError, ValueError):
            about = (-1, -1)
        hashed.update(os.fsencode(file) + b"\0%d\0%d\0" % about)
    return hashed.hexdigest()
