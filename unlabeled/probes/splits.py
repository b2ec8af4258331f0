"""Stratified draws of rows: the part that chooses hyper-parameters, and the few labels of a low-label setting."""

from __future__ import annotations

import numpy as np

from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import Rows


def held_out(codes: Rows, fraction: float, *keys: int | str) -> tuple[Rows, Rows]:
    """Split rows into (kept, held out), in every class about ``fraction`` held out.

    A class keeps at least one row, so that what is chosen on the held-out rows has seen every class. Rows left over
    by rounding down go to the classes with the largest remainders.

    Args:
        codes: (N,) class of each row.
        fraction: share of the rows to hold out, in (0, 1).
        keys: what determines the draw (a seed and a purpose).
    """
    count = np.bincount(codes)
    share = count * fraction
    held = np.floor(share).astype(np.int64)
    spare = round(float(share.sum())) - int(held.sum())
    if spare > 0:
        remainder = share - held
        held[np.argsort(-remainder, kind="stable")[:spare]] += 1
    held = np.minimum(held, np.maximum(count - 1, 0))
    return _draw(codes, held, *keys)


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
    order = numpy_generator(*keys).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    count = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(count) - count, count)
    taken = place < np.repeat(number, count)
    return np.sort(by_class[~taken]).astype(np.int64), np.sort(by_class[taken]).astype(np.int64)
