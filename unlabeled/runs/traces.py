"""What names images on the disk: their file names and the hashes of their pixels, in any file, packed or not."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

OVERLAP = 4096
"""Bytes of one piece of a file that are read again with the next: longer than any name."""
PIECE = 16 << 20


def named_in(places: Iterable[Path], names: Sequence[str], hashes: Sequence[str]) -> tuple[list[Path], int]:
    """The files below ``places`` in which a name or a hash stands, and how many files were read.

    Args:
        places: files and folders; links are not followed.
        names: of files, as text.
        hashes: hexadecimal; looked for as text and as bytes.
    """
    words = [name.encode() for name in names] + [word.encode() for word in hashes]
    words += [bytes.fromhex(word) for word in hashes]
    found, count = [], 0
    for path in _files(places):
        count += 1
        if any(word in piece for piece in _pieces(path) for word in words if word):
            found.append(path)
    return found, count


def _files(places: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for place in places:
        if place.is_file():
            seen.add(place)
        for folder, _, files in os.walk(place):
            seen |= {Path(folder, name) for name in files}
    yield from sorted(path for path in seen if path.is_file() and not path.is_symlink())


def _pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes piece by piece, and those of the members of a zip archive (.npz, checkpoints)."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    with archive.open(member) as handle:
                        yield from _read(handle)
        with path.open("rb") as handle:
            yield from _read(handle)
    except (OSError, zipfile.BadZipFile, RuntimeError):  # removed meanwhile, damaged, or locked with a password
        return


def _read(handle: Any) -> Iterator[bytes]:
    last = b""
    while piece := handle.read(PIECE):
        yield last + piece
        last = piece[-OVERLAP:]
