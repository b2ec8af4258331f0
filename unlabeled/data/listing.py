"""What a source holds before anything is decoded: how to read each row, and what is known of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.data.images import BadFile, Labels, Pixels, Rows
from unlabeled.data.rows import holdout

Raw = Path | bytes | Image.Image | np.ndarray[Any, np.dtype[Any]]
"""An image file, an image file's bytes, a picture, or an array (H, W), (H, W, C) or (C, H, W)."""

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "eval")
"""Names of a test split, the most wanted first."""

HELD_FRACTION = 0.2


class NoTestSplit(UserError):
    """A source with nothing to test on, all of which is for training."""


@dataclass(frozen=True)
class Listing:
    """The images of one split, not yet decoded.

    Attributes:
        read: gives row ``i``; called from several threads.
        names: a printable name for each row.
        identity: changes whenever the pixels might.
        labels: class numbers (N,), -1 where there is none, or ``None``; ``classes`` are their names.
        paths: whether ``names`` are paths of files (worth keeping with the images).
        rows: which rows belong to the split asked for; ``None``: all.
        array: all pixels (N, H, W, C) if they are in memory anyway, 8-bit ones perhaps as (N, C, H, W).
        upright: whether ``array`` is (N, H, W, C) for certain.
        quick: whether single rows are read quickly: then the values of all of them are looked at where that matters.
        place: what stays when the images change, so that copies of earlier ones can be told.
        lines: what was left out, a line each, to be said.
        bad: what was found unreadable while listing.
        note: one line on how the split came about.
    """

    read: Callable[[int], Raw]
    names: Sequence[str]
    identity: str
    labels: Labels | None = None
    classes: tuple[str, ...] | None = None
    paths: bool = False
    rows: Rows | None = None
    array: Pixels | None = None
    upright: bool = True
    quick: bool = True
    place: str = ""
    lines: tuple[str, ...] = ()
    bad: tuple[BadFile, ...] = ()
    note: str = field(default="")


def from_array(
    pixels: Pixels,
    labels: Labels | None,
    classes: tuple[str, ...] | None = None,
    *,
    identity: str = "",
    rows: Rows | None = None,
    note: str = "",
    upright: bool = True,
    lines: tuple[str, ...] = (),
) -> Listing:
    """List pixels (N, H, W, C) that are in memory, or, if not ``upright``, perhaps (N, C, H, W)."""
    names = _Numbered(len(pixels))
    identity = identity or digest("array", pixels.shape, hashlib.blake2b(np.ascontiguousarray(pixels).data).hexdigest())
    return Listing(
        lambda i: pixels[i], names, identity, labels, classes, rows=rows, array=pixels, note=note, upright=upright,
        lines=lines,
    )  # fmt: skip


class _Numbered(Sequence[str]):
    """``image 0``, ``image 1``, … without holding them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return [f"image {i}" for i in range(self._count)[index]] if isinstance(index, slice) else f"image {index}"


def printable(text: str | os.PathLike[str]) -> str:
    """Return ``text`` fit for one line of a terminal, JSON or HTML: odd bytes and control characters escaped."""
    if isinstance(text, str) and text.isprintable():
        return text
    decoded = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def digest(*parts: object) -> str:
    """Hash what identifies something to 32 hexadecimal digits."""
    return hashlib.blake2b("\0".join(map(repr, parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def origin_of(listing: Listing) -> str:
    """A name for where images come from: what was made of them is found by it when some of them are to be deleted."""
    return digest("origin", listing.place or listing.identity)


def number_classes(labels: Sequence[str]) -> tuple[Labels, tuple[str, ...]]:
    """Number class names: by value if all are whole numbers, else by the alphabet."""
    names = sorted(set(labels), key=_as_number if all(map(_is_number, set(labels))) else str)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[label] for label in labels], dtype=np.int64), tuple(names)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) < 19


def _as_number(text: str) -> tuple[int, str]:
    return int(text), text


def split_rows(
    total: int,
    labels: Labels | None,
    split: str,
    name: str,
    files: Sequence[str] | None = None,
    *,
    held: float | None = None,
    only_train: bool = False,
) -> tuple[Rows | None, str]:
    """Hold images of a source without a test split for testing, the same every time; return rows and a note.

    Images with names (``files``) are held by their names: those that come or go do not move the others across.
    For the split ``"all"`` nothing is held, and the rows are ``None``.

    Args:
        total, labels, files: of all images.
        split: ``"train"``, ``"test"`` or ``"all"``.
        name: what messages call the source.
        held: which fraction is held; ``None``: a fifth, or nothing of a source that calls all of it training.
        only_train: whether it says so.

    Raises:
        UserError: there are too few images to split.
        NoTestSplit: the images that are held are asked for, and there are none.
    """
    if split == "all":
        return None, ""
    fraction = (0.0 if only_train else HELD_FRACTION) if held is None else held
    if not fraction:
        if split == "test":
            why = "only a training split" if only_train else "no test split, and data.holdout=0"
            raise NoTestSplit(f"'{name}' has {why}; hold a fifth of it for testing with data.holdout=0.2.")
        return None, ""
    if total < 2:
        raise UserError(f"'{name}' has {total} image and no test split; at least two are needed.")
    if files is not None:
        kept, tested = held_by_name(files, labels, fraction)
        how = "chosen by their names"
    else:
        kept, tested = holdout(total, labels, fraction, 0)
        how = "stratified, seed 0" if labels is not None else "seed 0"
    return (kept if split == "train" else tested), (
        f"{len(tested):,} of {total:,} images are held out for testing, {how}, because '{name}' has no test split of "
        "its own (data.holdout=0 trains on all)"
    )


def portable(path: str) -> str:
    """A path with the same separators on every system: the same images are held out, and a request names the same."""
    return path.replace("\\", "/") if os.sep == "\\" else path


def held_by_name(files: Sequence[str], labels: Labels | None, fraction: float = HELD_FRACTION) -> tuple[Rows, Rows]:
    """Split rows into ``(kept, held)``, both sorted: a hash of its name decides on each image alone.

    So about ``fraction`` are held. Only where a class (of two or more) would be all on one side does the
    image that is nearest to the other go there.
    """
    digests = [
        hashlib.blake2b(portable(file).encode("utf-8", "surrogatepass"), digest_size=6).digest() for file in files
    ]
    places = np.array([int.from_bytes(digest, "big") for digest in digests]) / 2.0**48
    held = places < fraction
    groups = np.zeros(len(files), dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    sizes, counts = np.bincount(groups), np.bincount(groups, weights=held)
    for group in np.flatnonzero((sizes > 1) & ((counts == 0) | (counts == sizes))):
        rows = np.flatnonzero(groups == group)
        nearest = places[rows].argmax() if counts[group] else places[rows].argmin()
        held[rows[nearest]] = not counts[group]
    if not held.any() or held.all():  # classes of a single image
        nearest = places.argmax() if held.all() else places.argmin()
        held[nearest] = not held[nearest]
    return np.flatnonzero(~held), np.flatnonzero(held)


def pick_split(names: Sequence[str], split: str) -> str | None:
    """Return which of ``names`` (folders, column values, …) is ``split``, or ``None``."""
    wanted = TRAIN_NAMES if split == "train" else TEST_NAMES
    lower = {name.lower(): name for name in names}
    return next((lower[name] for name in wanted if name in lower), None)
