"""Which rows sums were made of: a 64-bit print of each, so that only what was learned can be forgotten."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import InputError, Labels

Prints = np.ndarray[Any, np.dtype[np.int64]]


def row_prints(rows: Tensor) -> Tensor:
    """(B,) int64 of (B, D) float64 rows: their bits times odd numbers, added up modulo 2^64; -0.0 counts as 0.0.

    Multiply-shift hashing (Dietzfelbinger et al. 1997): two different rows share a print by chance once in about 2^63.
    """
    bits = (rows + 0.0).contiguous().view(torch.int64)
    bits = (bits ^ (bits >> 32)) * -7046029254386353131
    return ((bits ^ (bits >> 29)) * send(_odd_numbers(rows.shape[1]), rows.device)).sum(1)


@lru_cache(maxsize=8)
def _odd_numbers(dim: int) -> Tensor:
    """(D,) int64, the same for all rows of a length; asked for once a block."""
    return torch.from_numpy(numpy_generator(0, "row prints").integers(-(2**62), 2**62, dim, dtype=np.int64) * 2 + 1)


def label_prints(labels: Labels) -> Prints:
    """(C,) int64 of labels, equal for equal labels of whatever integer type."""
    texts = (str(label) for label in labels.tolist())
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.array([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=np.int64)


class RowPrints:
    """A multiset of prints: added to in O(1) a row, sorted only when something is to be taken out.

    Attributes:
        parts: arrays of prints, in the order they came; one sorted array after :meth:`settle`.
    """

    def __init__(self) -> None:
        self.parts: list[Prints] = []

    def settle(self) -> Prints:
        """All prints, sorted: the same array whatever the order in which rows came and went."""
        whole = np.sort(np.concatenate(self.parts)) if self.parts else np.empty(0, np.int64)
        self.parts = [whole] if len(whole) else []
        return whole

    def add(self, prints: Prints) -> None:
        """Learn rows."""
        self.parts.append(prints)

    def remove(self, prints: Prints) -> None:
        """Forget rows.

        Raises:
            InputError: some of them are not there; nothing is changed then.
        """
        whole, gone = self.settle(), np.sort(prints)
        # the i-th of equal prints takes out the i-th of those that are there
        at = np.searchsorted(whole, gone) + np.arange(len(gone)) - np.searchsorted(gone, gone)
        found = at < len(whole)
        found[found] = whole[at[found]] == gone[found]
        if not found.all():
            raise InputError(
                f"cannot forget {int((~found).sum())} of {len(gone)} rows: they were never learned with that label. "
                "Give them exactly as they were learned."
            )
        kept = np.delete(whole, at)
        self.parts = [kept] if len(kept) else []
