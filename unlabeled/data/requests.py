"""A request that names images by their files: which of them the model holds, and why it does not hold the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.progress import say
from unlabeled.data.listing import portable

Array = np.ndarray[Any, np.dtype[np.int64]]
UNKNOWN = "not in the data"


def lines_of(spec: str, name: str) -> list[str]:
    """The lines of a request's file; empty ones and comments (``#``) are left out.

    Raises:
        UserError: there is no such file, or it is not a text.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"--forget {spec}: there is no file {path}.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"--forget {spec}: {path} is no UTF-8 text; write one image a line.") from error
    return [line for line in lines if line and not line.startswith("#")]


def rows_of_numbers(spec: str, name: str, rows: Array) -> Array:
    """Positions in ``rows`` of the row numbers that a file lists.

    Raises:
        UserError: something in it is not a row number, or none of ``rows``.
    """
    words = [word for line in lines_of(spec, name) for word in re.split(r"[\s,]+", line) if word]
    places = {row: place for place, row in enumerate(rows.tolist())}
    whole = len(rows) == max(places, default=-1) + 1
    for word in words:
        if not re.fullmatch(r"-?\d{1,18}", word):
            raise UserError(f"--forget {spec}: '{word}' in {name} is not a row number.")
        if int(word) not in places:
            why = (
                f"is out of range; the data has rows 0 to {len(rows) - 1}" if whole else "is none the model trained on"
            )
            raise UserError(f"--forget {spec}: row {word} in {name} {why}.")
    return np.array([places[int(word)] for word in words], dtype=np.int64)


def rows_of_files(
    spec: str, name: str, paths: Sequence[str] | None, elsewhere: Mapping[str, str] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """The rows that a file of image paths names, and what became of the images that are none of them.

    An image that the model does not hold needs no forgetting: it is listed with the reason, and the others are
    answered. A path may be named by its end where that is unambiguous; no other image is ever proposed instead.

    Args:
        spec: the request, for messages.
        name: the file.
        paths: of the images that the model was trained on, in the order of their rows.
        elsewhere: paths of images that it was not trained on, each with the reason.

    Returns:
        Rows, and one line a reason: ``("1 held out and never trained on",)``.

    Raises:
        UserError: the data has no file names, an end fits several images, or the model holds none of them.
    """
    if paths is None:
        raise UserError(f"--forget {spec}: this data has no file names; use indices:FILE with row numbers.")
    return rows_of_paths(spec, meant(spec, name, [*paths, *(elsewhere or {})]), paths, elsewhere)


def rows_of_paths(
    spec: str, wanted: Mapping[str, str], paths: Sequence[str], elsewhere: Mapping[str, str] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """:func:`rows_of_files` where it is known which path each line means.

    Args:
        spec, paths, elsewhere: as there. A path may occur more than once: all of its rows are meant.
        wanted: the path by what the request calls it.
    """
    elsewhere = elsewhere or {}
    places: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        places.setdefault(path, []).append(row)
    rows: list[int] = []
    missing: list[tuple[str, str]] = []
    for line, found in wanted.items():
        if found in places:
            rows += places[found]
        else:
            missing.append((line, elsewhere.get(found, UNKNOWN)))
    counts = Counter(reason for _, reason in missing)
    passed = tuple(f"{count} {reason}" for reason, count in counts.items())
    listed = "; ".join(f"{line}: {reason}" for line, reason in missing)
    if wanted and not rows:
        hint = nearest_folder(missing[0][0], paths) if counts[UNKNOWN] else ""
        raise UserError(f"--forget {spec}: the model holds none of these images ({listed}).{hint}")
    if missing:
        say(f"{len(wanted)} images are named: {len(rows)} were trained on; {', '.join(passed)} ({listed})")
    return np.array(rows, dtype=np.int64), passed


def meant(spec: str, name: str, paths: Iterable[str]) -> dict[str, str]:
    """Every line of a file of image paths, with the one of ``paths`` that it means, or itself where it means none.

    Raises:
        UserError: an end fits several images.
    """
    known = {portable(path): path for path in paths}
    ends = _by_last_part(known)
    lines = dict.fromkeys(lines_of(spec, name))
    found = {line: _by_end(spec, name, portable(line), known, ends) for line in lines}
    return {line: line if path is None else known[path] for line, path in found.items()}


def nearest_folder(wanted: str, paths: Sequence[str]) -> str:
    """How the data writes its paths, where a request writes them in another way: its folder, never an image's name."""
    hint = nearest(str(Path(wanted).parent), sorted({str(Path(path).parent) for path in paths[:5000]}))
    return hint if "Did you mean" in hint else ""


def _by_last_part(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    return found


def _by_end(spec: str, name: str, line: str, known: Container[str], ends: Mapping[str, Sequence[str]]) -> str | None:
    if line in known:
        return line
    alike = ends.get(line.rsplit("/", 1)[-1], ())
    fitting = [path for path in alike if path.endswith(f"/{line}") or line.endswith(f"/{path}")]
    if len(fitting) > 1:
        raise UserError(f"--forget {spec}: '{line}' in {name} fits {len(fitting)} images; write the whole path.")
    return fitting[0] if fitting else None
