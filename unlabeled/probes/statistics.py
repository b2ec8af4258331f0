"""The sufficient statistics (n, Σx, Σxxᵀ) behind every closed-form probe: added to, taken from, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.probes.arrays import Features, InputError, Labels, blocks, encode
from unlabeled.probes.base import class_codes


class Statistics:
    """Counts, sums and second moments of labelled features, in compensated float64.

    With a shift s (the mean of the first rows ever seen, so that large means cost no digits):
    ``count[c] = n_c``, ``total[c] = Σ_{i in c} (x_i - s)`` and ``moment = Σ_i (x_i - s)(x_i - s)ᵀ``
    (``moments[c]`` for each class apart with ``per_class``). Each sum carries the rounding error of its additions
    along (Neumaier's compensation), so that millions of small batches lose nothing against one large one.

    Classes may appear at any time and leave when their last row is forgotten. What forgetting leaves behind is float64
    rounding, about 1e-16 of the squares of the forgotten rows: nothing, unless those were thousands of times larger
    than all that remain.

    Attributes:
        classes: sorted labels of the classes with at least one row.
        count: (C,) int64.
        cache: what probes derived from the present state; emptied by every change.
    """

    def __init__(self, dim: int, *, second: bool = True, per_class: bool = False, device: str | torch.device = "cpu"):
        self.dim, self.second, self.per_class = dim, second, per_class
        self.device = torch.device(device)
        self.classes: Labels = np.empty(0, dtype=np.int64)
        self.count = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.shift = torch.zeros(dim, dtype=torch.float64, device=self.device)
        self.total = self._zeros(0, dim)
        shape = () if not second else ((0, dim, dim) if per_class else (dim, dim))
        self.moment = self._zeros(*shape)
        self.cache: dict[Any, Any] = {}

    def _zeros(self, *shape: int) -> Tensor:
        """A compensated sum: the value and the error still to be added, stacked."""
        return torch.zeros(2, *shape, dtype=torch.float64, device=self.device)

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
        return self.total.sum((0, 1)) / self.n + self.shift

    def within(self) -> Tensor:
        """(D, D) scatter around the class means, Σ_c Σ_{i in c} (x_i - μ_c)(x_i - μ_c)ᵀ."""
        total = self.total.sum(0)
        moment = self.moment.sum(0)
        if self.per_class:
            moment = moment.sum(0)
        return _symmetric(moment - (total / self.count.unsqueeze(1)).T @ total)

    def within_class(self, code: int) -> Tensor:
        """(D, D) scatter of one class around its mean (``per_class`` only)."""
        total = self.total[:, code].sum(0)
        return _symmetric(self.moment[:, code].sum(0) - torch.outer(total, total) / self.count[code])

    def around_mean(self) -> Tensor:
        """(D, D) scatter of all rows around their mean."""
        total = self.total.sum((0, 1))
        moment = self.moment.sum(0)
        if self.per_class:
            moment = moment.sum(0)
        return _symmetric(moment - torch.outer(total, total) / self.n)

    def add(self, X: Features, labels: Labels) -> None:
        """Learn rows: (N, D) features and (N,) labels."""
        self._update(X, labels, sign=1)

    def remove(self, X: Features, labels: Labels) -> None:
        """Forget rows learned before: the exact inverse of :meth:`add`.

        Raises:
            InputError: more rows of a class than it has. Nothing is changed then.
        """
        self._update(X, labels, sign=-1)

    def _update(self, X: Features, labels: Labels, sign: int) -> None:
        present, codes = class_codes(labels)
        rows = torch.from_numpy(np.bincount(codes, minlength=len(present))).to(self.device)
        if sign < 0:
            self._check_learned(present, rows)
        elif not len(self.classes):
            part = next(blocks(X, self.device, torch.float64))[1]
            self.shift = part.mean(0)
        # All sums of this call are complete before the state changes: bad rows leave it as it was.
        total = torch.zeros(len(present), self.dim, dtype=torch.float64, device=self.device)
        moment = self._zeros(*((len(present),) if self.per_class else ()), self.dim, self.dim) if self.second else None
        of = torch.from_numpy(codes).to(self.device)
        for rows_of_block, block in blocks(X, self.device, torch.float64):
            centred = block - self.shift
            where = of[rows_of_block]
            total.index_add_(0, where, centred)
            if moment is None:
                continue
            if self.per_class:
                for code in np.unique(codes[rows_of_block]).tolist():
                    some = centred[where == code]
                    moment[:, code] = _compensated(moment[:, code], some.T @ some)
            else:
                moment = _compensated(moment, centred.T @ centred)
        self._grow(present)
        at = torch.from_numpy(encode(present, self.classes)).to(self.device)
        self.count[at] += sign * rows
        self.total[:, at] = _compensated(self.total[:, at], sign * total)
        if moment is not None and self.per_class:
            self.moment[:, at] = _compensated(self.moment[:, at], sign * moment.sum(0))
        elif moment is not None:
            self.moment = _compensated(self.moment, sign * moment.sum(0))
        self._drop_empty()
        self.cache.clear()

    def _check_learned(self, present: Labels, rows: Tensor) -> None:
        at = encode(present, self.classes)
        for label, position, wanted in zip(present, at, rows.tolist(), strict=True):
            have = int(self.count[position]) if position >= 0 else 0
            if wanted > have:
                raise InputError(f"cannot forget {wanted} rows of class {label!r}: only {have} were learned.")

    def _grow(self, present: Labels) -> None:
        if len(self.classes) == 0:
            merged = present
        else:
            encode(present, self.classes)  # text among numbers is an error, not a cast
            merged = np.union1d(self.classes, present)
        if len(merged) == len(self.classes):
            return
        at = torch.from_numpy(encode(self.classes, merged)).to(self.device) if len(self.classes) else slice(0, 0)
        count = torch.zeros(len(merged), dtype=torch.int64, device=self.device)
        total = self._zeros(len(merged), self.dim)
        count[at], total[:, at] = self.count, self.total
        if self.per_class and self.second:
            moment = self._zeros(len(merged), self.dim, self.dim)
            moment[:, at] = self.moment
            self.moment = moment
        self.classes, self.count, self.total = merged, count, total

    def _drop_empty(self) -> None:
        kept = self.count > 0
        if bool(kept.all()):
            return
        self.classes = self.classes[kept.cpu().numpy()]
        self.count, self.total = self.count[kept], self.total[:, kept]
        if self.per_class and self.second:
            self.moment = self.moment[:, kept]


def _compensated(total: Tensor, value: Tensor) -> Tensor:
    """Add ``value`` to a (2, ...) sum; the second entry gathers what rounding lost (Neumaier 1974)."""
    summed = total[0] + value
    larger = total[0].abs() >= value.abs()
    lost = torch.where(larger, (total[0] - summed) + value, (value - summed) + total[0])
    return torch.stack([summed, total[1] + lost])


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2
