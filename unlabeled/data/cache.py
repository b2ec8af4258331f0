"""What the cache holds: decoded pixels, features and downloads, by what they were made of; listed, sized, removed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir, locked, remove

KINDS = {
    "pixels": "decoded images",
    "features": "features of images",
    "decisions": "what the numbers of data sets mean",
    "prepared": "first stages of methods",
    "data": "downloaded data sets",
}
"""Folders of the cache; everything but downloads is made again when it is needed."""


@dataclass(frozen=True)
class Kept:
    """One thing in the cache.

    Attributes:
        kind: a key of :data:`KINDS`.
        path: its folder or file.
        what: what it was made of, if it says so.
        bytes: its size on the disk.
        age: days since it was made or changed.
    """

    kind: str
    path: Path
    what: str
    bytes: int
    age: float


def list_cache(cache: Path | None = None) -> list[Kept]:
    """Everything in the cache, the largest first."""
    root = cache_dir() if cache is None else cache
    found: list[Kept] = []
    for kind in KINDS:
        with suppress(OSError):
            paths = list((root / kind).iterdir())
            found += [_kept(kind, path) for path in paths if path.suffix != ".lock" and path.name[0] != "."]
    return sorted(found, key=lambda kept: (-kept.bytes, str(kept.path)))


def _kept(kind: str, path: Path) -> Kept:
    states = [state for file in (path.rglob("*") if path.is_dir() else [path]) if (state := _state(file))]
    size = sum(getattr(state, "st_blocks", -(-state.st_size // 512)) * 512 for state in states)
    newest = max((state.st_mtime for state in states), default=time.time())
    return Kept(kind, path, str(_manifest(path).get("source", "")), size, max(time.time() - newest, 0) / 86400)


def _state(file: Path) -> os.stat_result | None:
    try:
        return file.lstat()
    except OSError:  # removed meanwhile
        return None


def _manifest(store: Path) -> dict[str, object]:
    with suppress(OSError, ValueError):
        held = json.loads((store / "manifest.json").read_bytes())
        return held if isinstance(held, dict) else {}
    return {}


def clear_cache(
    kinds: tuple[str, ...] = ("pixels", "features", "decisions", "prepared"),
    *,
    unused_days: float = 0.0,
    cache: Path | None = None,
    dry_run: bool = False,
) -> list[Kept]:
    """Remove what was not changed for ``unused_days``, and return it; what another process is making stays.

    Args:
        kinds: keys of :data:`KINDS`.
        unused_days: how old it must be.
        cache: the cache; default: the user's.
        dry_run: remove nothing, only say what would go.

    Raises:
        UserError: there is no such kind, or it may not be removed.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"the cache has no '{kind}'; it keeps {', '.join(KINDS)}.")
    chosen = [kept for kept in list_cache(cache) if kept.kind in kinds and kept.age >= unused_days]
    return chosen if dry_run else [kept for kept in chosen if _remove(kept.path)]


def made_of(
    origins: frozenset[str], prints: frozenset[str], shape: tuple[int, ...], cache: Path | None = None
) -> list[Kept]:
    """What was made of images from the same place, and stores that hold the pixels of some of them.

    Features whose manifest does not say where the images come from (older versions wrote none) may be of these images:
    they belong to it. They are made again when they are needed.

    Args:
        origins: where the images come from (``ImageSet.origin``).
        prints: hashes of their pixels, which are ``(C, H, W) = shape``.
        shape: of one image.
        cache: the cache; default: the user's.
    """
    kept = [each for each in list_cache(cache) if each.kind in ("pixels", "features", "prepared")]
    origins |= {
        str(_manifest(store.path).get("origin", ""))
        for store in kept
        if store.kind == "pixels" and _holds(store.path, prints, shape)
    }
    origins -= {""}
    return [each for each in kept if each.path.name in origins or _origin(each) in {*origins, None}]


def _origin(each: Kept) -> object:
    """Where the images come from that something was made of; ``None`` for features that do not say it."""
    return _manifest(each.path).get("origin", None if each.kind == "features" else "")


def _holds(store: Path, prints: frozenset[str], shape: tuple[int, ...]) -> bool:
    from unlabeled.data.images import ImageSet  # with torch, which listing the cache can do without
    from unlabeled.data.prints import pixel_prints

    held = _manifest(store).get("shape")
    if not isinstance(held, list) or tuple(held[1:]) != shape:
        return False
    try:
        images = ImageSet("", "all", np.memmap(store / "pixels.u8", np.uint8, "r", shape=tuple(held)), fingerprint="-")
    except (OSError, ValueError):
        return False
    return not prints.isdisjoint(pixel_prints(images))


def forget_made_of(kept: Sequence[Kept]) -> list[Kept]:
    """Remove what :func:`made_of` found, and return it; what another process is using stays."""
    return [each for each in kept if _remove(each.path)]


def _remove(path: Path) -> bool:
    """Remove one thing and its lock, unless another process works on it."""
    lock = path.with_suffix(".lock")
    try:
        with locked(lock, wait=0, busy="busy"):
            remove(path)
    except UserError as error:
        if str(error) != "busy":
            raise
        return False
    with suppress(OSError):
        lock.unlink(missing_ok=True)
    return True


def remove_older(store: Path, place: str) -> None:
    """Remove the decoded pixels of what lay at the same ``place`` before: files came, went or changed since."""
    if not place:
        return
    for other in store.parent.iterdir():
        if other != store and other.is_dir() and _manifest(other).get("place") == place:
            with suppress(UserError, OSError):  # another's, or in use on a system that keeps open files
                _remove(other)
