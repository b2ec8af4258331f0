"""The page of a selection: the images that were kept, those that were left, and those that were there twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.data import ImageSet
from unlabeled.report.blocks import facts
from unlabeled.report.content import Cell, Gallery
from unlabeled.report.document import shell
from unlabeled.report.markup import Markup, tag
from unlabeled.report.sections import gallery

COLUMNS = 12
ROWS = 3

Numbers = np.ndarray[Any, np.dtype[np.int64]]
REASONS = {
    "near": "nearest to the own images (cosine of the embeddings)",
    "clusters": "least typical of their cluster (cosine distance from its middle)",
    "random": "a random choice",
}


def selection_page(
    pool: ImageSet,
    kept: Numbers,
    left: Numbers,
    twins: Numbers,
    score: np.ndarray[Any, np.dtype[np.float32]],
    by: str,
) -> str:
    """Write the page of what :func:`unlabeled.select` chose: HTML with everything inside.

    Args:
        pool: all images.
        kept, left: rows of it, the most wanted first.
        twins: ``(T, 2)`` rows that were left out, and which each is the twin of.
        score: ``(N,)`` what was chosen by.
        by: ``near``, ``clusters`` or ``random``.
    """

    def shown(title: str, rows: Numbers) -> Markup:
        cells = [_cell(pool, row, score[row]) for row in rows.tolist()]
        parts = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
        return gallery(Gallery(title, "", [""] * len(parts[0]), parts)) if parts else Markup("")

    def both_ends(what: str, rows: Numbers) -> Markup:
        most = COLUMNS * ROWS
        if len(rows) <= 2 * most:
            return shown(f"{what}, the most wanted first", rows)
        return tag("div", shown(f"{what}: the most wanted", rows[:most]), shown(f"{what}: the least", rows[-most:]))

    pairs = [[_cell(pool, row, np.nan) for row in pair[::-1]] for pair in twins[: COLUMNS * ROWS].tolist()]
    twice = gallery(Gallery("left out beside the one that stands for it", "", ["kept or left", "twin"], pairs))
    counts = {
        "kept": f"{len(kept):,}",
        "left": f"{len(left):,}",
        "twins": f"{len(twins):,}",
        **{f"score of those {name}": _span(score[rows]) for name, rows in (("kept", kept), ("left", left))},
    }
    parts = {
        "kept": ("Kept", both_ends("kept", kept)),
        "left": ("Left", both_ends("left", left)),
        "twins": ("Near-duplicates", twice if pairs else None),
    }
    title = f"{len(kept):,} of {len(pool):,} images of {pool.name}"
    summary = facts({key: value for key, value in counts.items() if value})
    return shell(title, f"Chosen: {REASONS[by]}.", parts, summary)


def _span(values: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    if not len(values) or np.isnan(values).any():
        return ""
    return f"{values.min():.3f} to {values.max():.3f}, median {np.median(values):.3f}"


def _cell(pool: ImageSet, row: int, score: float) -> Cell:
    name = pool.paths[row] if pool.paths else f"image {row}"
    return Cell(pool.gather(np.array([row])).numpy()[0], name if np.isnan(score) else f"{name}\n{score:.3f}")
