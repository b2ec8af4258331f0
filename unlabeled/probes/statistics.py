"""The sufficient statistics (n, Σx, Σxxᵀ) behind every closed-form probe: added to, taken from, in any order."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.probes.arrays import Features, InputError, Labels, block_rows, blocks, encode, shown
from unlabeled.probes.base import class_codes
from unlabeled.probes.exact import (
    FLUSH_ROWS,
    ExactSums,
    add_moment,
    add_to,
    difference_of_products,
    moved_moment,
    moved_total,
    over_classes,
    scatter,
    tidied,
    tidied_moment,
)
from unlabeled.probes.row_prints import RowPrints, label_prints, row_prints

BLOCK_VALUES = 1 << 18  # of a block: 2 MB in float64, which stay in the cache while it is summed
RESOLUTION = 2.0**-60  # of the largest square: below lies only rounding


class Statistics:
    """Counts, sums and second moments of labelled features, in float64 without the rounding that forgetting would show.

    With a shift s (the mean of the first rows ever seen, so that large means cost no digits): ``count[c] = n_c``,
    ``total[c] = Σ_{i in c} (x_i - s)`` and ``moment = Σ_i (x_i - s)(x_i - s)ᵀ`` (``moments[c]`` for each class apart
    with ``per_class``), each as an exact part and a small rest (:class:`~unlabeled.probes.exact.ExactSums`). Millions
    of small batches lose nothing against one large one, and float32 rows that are forgotten leave about 1e-21 of their
    squares behind: nothing, unless they were a million times larger than all that remain.

    Classes may appear at any time and leave when their last row is forgotten.

    Attributes:
        classes: sorted labels of the classes with at least one row.
        count: (C,) int64.
        extent: (D,) no less than the largest distance from the shift (with second moments only); directions whose
            spread is below 1e-9 of it are what rounding left and count as constant.
        prints: which rows were learned and not forgotten, so that no other row can be taken out.
        cache: what probes derived from the present state; emptied by every change.
    """

    def __init__(self, dim: int, *, second: bool = True, per_class: bool = False, device: str | torch.device = "cpu"):
        self.dim, self.second, self.per_class = dim, second, per_class
        self.device = torch.device(device)
        self.classes: Labels = np.empty(0, dtype=np.int64)
        self.count = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.shift = torch.zeros(dim, dtype=torch.float64, device=self.device)
        self.extent = torch.zeros(dim, dtype=torch.float64, device=self.device)
        empty = self._sums(0)
        self.total, self.moment = empty.total, empty.moment
        self.prints = RowPrints()
        self.cache: dict[Any, Any] = {}

    def _sums(self, classes: int) -> ExactSums:
        return ExactSums(classes, self.dim, second=self.second, per_class=self.per_class, device=self.device)

    @property
    def n(self) -> int:
        """Number of rows learned and not forgotten."""
        return int(self.count.sum())

    @property
    def means(self) -> Tensor:
        """(C, D) float64 class means."""
        return self.total.sum(0) / self.count.unsqueeze(1) + self.shift

    @property
    def mean(self) -> Tensor:
        """(D,) float64 mean of all rows."""
        return over_classes(self.total).sum(0) / self.n + self.shift

    def apart(self) -> Tensor:
        """(C, D) class means less the mean of all rows, to float64 precision of the difference."""
        whole, count = over_classes(self.total), self.count.double().unsqueeze(1)
        n = count.sum()
        difference = difference_of_products(n, self.total[0], count, whole[0])
        return (difference + (n * self.total[1] - count * whole[1])) / (n * count)

    def within(self) -> Tensor:
        """(D, D) scatter around the class means, Σ_c Σ_{i in c} (x_i - μ_c)(x_i - μ_c)ᵀ."""
        apart = self.apart()
        return self._cleared(self.around_mean() - (self.count.unsqueeze(1) * apart).T @ apart, self.n)

    def within_class(self, code: int) -> Tensor:
        """(D, D) scatter of one class around its mean (``per_class`` only)."""
        n = self.count[code].double()
        return self._cleared(scatter(n, self.total[:, code], self.moment[:, code]), float(n))

    def around_mean(self) -> Tensor:
        """(D, D) scatter of all rows around their mean."""
        moment = over_classes(self.moment) if self.per_class else self.moment
        return self._cleared(scatter(self.count.sum().double(), over_classes(self.total), moment), self.n)

    def _cleared(self, matrix: Tensor, n: float) -> Tensor:
        """A symmetric scatter without the rows and columns that are only rounding."""
        real = matrix.diagonal() > n * RESOLUTION * self.extent.square()
        return torch.where(torch.outer(real, real), (matrix + matrix.T) / 2, 0)

    def add(self, X: Features, labels: Labels) -> None:
        """Learn rows: (N, D) features and (N,) labels."""
        self._update(X, labels, sign=1)

    def remove(self, X: Features, labels: Labels) -> None:
        """Forget rows learned before: the exact inverse of :meth:`add`. Shift and extent forget them, too.

        Raises:
            InputError: rows that were not learned with that label. Nothing is changed then.
        """
        self._update(X, labels, sign=-1)
        self.settle()

    def settled(self) -> Statistics:
        """A copy as :meth:`settle` leaves it."""
        found = copy.copy(self)  # whose sums are replaced, never written into
        found.cache = {}
        found.settle()
        return found

    def settle(self) -> None:
        """Bring shift and extent to what the present rows alone say, so that nothing is left of those forgotten.

        The shift becomes the mean of the rows in float32. The extent becomes the root of their squares' sum, which is
        no less than the largest distance; columns that are only rounding by the old extent become constant for good.
        """
        if not self.n:
            return
        centre = self.mean.float().double()
        by = centre - self.shift
        whole = over_classes(self.total)
        if self.second and self.per_class:
            moved = [moved_moment(self.moment[:, c], self.total[:, c], n, by) for c, n in enumerate(self.count)]
            self.moment = torch.stack(moved, dim=1)
        elif self.second:
            self.moment = moved_moment(self.moment, whole, self.count.sum(), by)
        self.total, self.shift = tidied(moved_total(self.total, self.count, by)), centre
        if self.second:
            squares = (over_classes(self.moment) if self.per_class else self.moment).diagonal(dim1=1, dim2=2)
            squares = squares[0] + 2 * squares[1]
            real = squares > self.n * RESOLUTION * self.extent.square()
            self.extent = torch.where(real, squares, 0).clamp(min=0).sqrt()
            self.moment = tidied_moment(self.moment) * torch.outer(real, real)
        else:  # nobody asks for it
            self.extent = torch.zeros_like(self.extent)
        self.cache.clear()

    def _update(self, X: Features, labels: Labels, sign: int) -> None:
        present, codes = class_codes(labels)
        rows = send(torch.from_numpy(np.bincount(codes, minlength=len(present))), self.device)
        if sign < 0:
            self.check_learned(labels)
        elif not len(self.classes):
            # In float32, as features usually are: their differences to it are exact in float64.
            self.shift = next(blocks(X, self.device, torch.float64, self._block()))[1].mean(0).float().double()
        # All sums of this call are complete before the state changes: bad rows leave it as it was.
        sums = self._sums(len(present))
        of, seen = send(torch.from_numpy(codes), self.device), []
        for rows_of_block, block in blocks(X, self.device, torch.float64, self._block()):
            seen.append(row_prints(block).cpu().numpy())
            sums.add(block - self.shift, of[rows_of_block])
        sums.close()
        prints = np.concatenate(seen) + label_prints(present)[codes]
        # either may refuse: new classes are refused only when learning, rows only when forgetting
        self._grow(present)
        if sign < 0:
            self.prints.remove(prints)
        else:
            self.prints.add(prints)
        at = send(torch.from_numpy(encode(present, self.classes)), self.device)
        self.count[at] += sign * rows
        self.total[:, at] = add_to(self.total[:, at], *(sign * sums.total))
        if self.second and self.per_class:
            self.moment[:, at] = add_moment(self.moment[:, at], *(sign * sums.moment))
        elif self.second:
            self.moment = add_moment(self.moment, *(sign * sums.moment))
        self.extent = torch.maximum(self.extent, sums.extent)
        self._drop_empty()
        self.cache.clear()

    def _block(self) -> int:
        return min(block_rows(self.dim, BLOCK_VALUES), FLUSH_ROWS)

    def check_learned(self, labels: Labels) -> None:
        """Refuse to forget more rows of a class than it has.

        Raises:
            InputError: there are fewer.
        """
        present, count = np.unique(labels, return_counts=True)
        at = encode(present, self.classes)
        for label, position, wanted in zip(present, at, count.tolist(), strict=True):
            have = int(self.count[position]) if position >= 0 else 0
            if wanted > have:
                raise InputError(f"cannot forget {wanted} rows of class {shown(label)}: only {have} were learned.")

    def _grow(self, present: Labels) -> None:
        if len(self.classes) == 0:
            merged = present
        else:
            encode(present, self.classes)  # text among numbers is an error, not a cast
            merged = np.union1d(self.classes, present)
        if len(merged) == len(self.classes):
            return
        at = send(torch.from_numpy(encode(self.classes, merged)), self.device) if len(self.classes) else slice(0, 0)
        count = torch.zeros(len(merged), dtype=torch.int64, device=self.device)
        larger = self._sums(len(merged))
        count[at], larger.total[:, at] = self.count, self.total
        if self.per_class and self.second:
            larger.moment[:, at] = self.moment
            self.moment = larger.moment
        self.classes, self.count, self.total = merged, count, larger.total

    def _drop_empty(self) -> None:
        kept = self.count > 0
        if bool(kept.all()):
            return
        if not bool(kept.any()):  # not even rounding stays: what comes next is the first
            self.shift.zero_()
            self.extent.zero_()
            self.moment.zero_()
        self.classes = self.classes[kept.cpu().numpy()]
        self.count, self.total = self.count[kept], self.total[:, kept]
        if self.per_class and self.second:
            self.moment = self.moment[:, kept]
