"""Which rows: all stratified draws, for test splits, for choosing hyper-parameters, for few labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError

Rows = np.ndarray[Any, np.dtype[np.int64]]
FEW_ROWS = 1000
"""Below so many rows a single held-out part says little of a setting, and each row is held out in turn."""
FOLDS = 5


def holdout(n: int, labels: Rows | None, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split ``n`` rows into ``(kept, held)``, both sorted, disjoint and together everything.

    ``round(fraction * n)`` rows are held, at least one on either side. With labels the split is stratified:
    each class gives its share (:func:`shares`).

    Raises:
        ValueError: ``fraction`` is not inside (0, 1), there are fewer than two rows, or not ``n`` labels.

    >>> [len(part) for part in holdout(10, None, 0.2, 0)]
    [8, 2]
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, not {fraction}")
    if n < 2 or (labels is not None and len(labels) != n):
        raise ValueError(f"cannot split {n} rows" + ("" if labels is None else f" with {len(labels)} labels"))
    codes = np.zeros(n, dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1].reshape(-1)
    return _draw(codes, shares(np.bincount(codes), fraction, min(max(round(n * fraction), 1), n - 1)), "holdout", seed)


def held_out(codes: Rows, fraction: float, *keys: int | str) -> tuple[Rows, Rows]:
    """Split rows into (kept, held out), in every class about ``fraction`` held out.

    A class keeps at least one row, so that what is chosen on the held-out rows has seen every class.

    Args:
        codes: (N,) class of each row.
        fraction: share of the rows to hold out, in (0, 1).
        keys: what determines the draw (a seed and a purpose).
    """
    count = np.bincount(codes)
    held = shares(count, fraction, round(float((count * fraction).sum())))
    return _draw(codes, np.minimum(held, np.maximum(count - 1, 0)), *keys)


def splits_to_choose(codes: Rows, fraction: float, *keys: int | str) -> list[tuple[Rows, Rows]]:
    """Splits (kept, held out) by which a setting is chosen: one (:func:`held_out`), or :func:`folds` of few rows.

    Empty where every class has a single row, none of which can be held out.
    """
    if len(codes) >= FEW_ROWS:
        splits = [held_out(codes, fraction, *keys)]
    else:
        of = folds(codes, FOLDS, *keys)
        splits = [(np.flatnonzero(of != fold), np.flatnonzero(of == fold)) for fold in range(FOLDS)]
    return [(kept, held) for kept, held in splits if len(held)]


def folds(codes: Rows, number: int, *keys: int | str) -> Rows:
    """The fold in which each row is held out, (N,), drawn by ``keys``.

    Folds are of one size and have the classes in one proportion, to a row (as scikit-learn's ``StratifiedKFold``). The
    only row of a class is in no fold (-1), so that what is trained without a fold has seen every class.

    >>> np.bincount(folds(np.array([0, 0, 0, 1, 1, 1]), 3, 0)).tolist()
    [2, 2, 2]
    """
    from unlabeled.core.rng import numpy_generator

    order = numpy_generator(*keys).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    by_class = by_class[np.bincount(codes)[codes[by_class]] > 1]
    of = np.full(len(codes), -1, dtype=np.int64)
    of[by_class] = np.arange(len(by_class)) % number
    return of


def shares(sizes: Rows, fraction: float, total: int) -> Rows:
    """How many of ``total`` rows each class gives: its share rounded down, and one more for the largest remainders.

    A class never gives its last row while the total allows another to give.

    >>> shares(np.array([5, 5, 3]), 0.3, 4).tolist()
    [2, 1, 1]
    """
    share = sizes * fraction
    counts: Rows = np.floor(share).astype(np.int64)
    order = np.lexsort((np.arange(len(sizes)), -(share - counts), counts + 1 >= sizes))
    counts[order[: max(total - int(counts.sum()), 0)]] += 1
    return counts


def labelled_rows(codes: Rows, labels: str, *keys: int | str) -> Rows:
    """Draw the rows whose labels may be used, stratified, at least one of every class.

    Args:
        codes: (N,) class of each row, 0-based.
        labels: ``"10%"`` or ``"5-per-class"``.
        keys: what determines the draw.

    Raises:
        UserError: another form.

    >>> labelled_rows(np.array([0, 0, 0, 1, 1, 1]), "1-per-class", 0).shape
    (2,)
    """
    fraction = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", labels.strip())
    number = re.fullmatch(r"(\d+)-per-class", labels.strip())
    if fraction and 0 < float(fraction[1]) <= 100:
        return share(codes, float(fraction[1]) / 100, *keys)
    if number and int(number[1]) >= 1:
        return per_class(codes, min(int(number[1]), len(codes)), *keys)
    raise UserError(f"labels={labels!r} is not understood; write a share such as '10%' or a number as '5-per-class'.")


def wrong_labels(codes: Rows, classes: int, *keys: int | str) -> Rows:
    """Another class for each row, all others alike likely, drawn by ``keys``.

    >>> bool((wrong_labels(np.zeros(9, dtype=np.int64), 3, 0) > 0).all())
    True
    """
    from unlabeled.core.rng import numpy_generator

    return (codes + numpy_generator(*keys).integers(1, classes, len(codes))) % classes


def per_class(codes: Rows, number: int, *keys: int | str) -> Rows:
    """Draw ``number`` rows of every class (all of a class that has fewer), sorted."""
    return _draw(codes, np.minimum(np.bincount(codes), number), *keys)[1]


def share(codes: Rows, fraction: float, *keys: int | str) -> Rows:
    """Draw about ``fraction`` of the rows, stratified, at least one of every class, sorted."""
    count = np.bincount(codes)
    wanted = np.minimum(count, np.maximum(np.rint(count * fraction).astype(np.int64), 1))
    return _draw(codes, wanted, *keys)[1]


def _draw(codes: Rows, number: Rows, *keys: int | str) -> tuple[Rows, Rows]:
    """Shuffle rows, take the first ``number[c]`` of each class c: (the others, the taken ones), both sorted."""
    from unlabeled.core.rng import numpy_generator  # imports torch, which listing data can do without

    order = numpy_generator(*keys).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    count = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(count) - count, count)
    taken = place < np.repeat(number, count)
    return np.sort(by_class[~taken]).astype(np.int64), np.sort(by_class[taken]).astype(np.int64)
