"""Sums and products of float64 whose rounding is known: what is added can be taken out again, however large it was."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLUSH_ROWS = 1 << 15  # 2 x 19 bits of a product and 15 of the count: the 53 of a float64
SPLIT = 2.0**36  # of the largest value: what is rounded away lies 2^-17 below it
STRIP = 128
VELTKAMP = 2.0**27 + 1


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rounded sum and its rounding error: ``a + b`` exactly (Knuth 1969)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rounded product (of what broadcasts) and its rounding error: ``a·b`` exactly (Dekker 1971)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(value: Tensor) -> tuple[Tensor, Tensor]:
    wide = VELTKAMP * value
    high = wide - (wide - value)
    return high, value - high


def difference_of_products(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """``ab - cd`` rounded once, however much of both cancels."""
    (first, first_lost), (second, second_lost) = two_product(a, b), two_product(c, d)
    difference, lost = two_sum(first, -second)
    return difference + (lost + (first_lost - second_lost))


def add_to(pair: Tensor, value: Tensor, rest: Tensor) -> Tensor:
    """A (2, ...) sum, value and what is still to be added, with another one added."""
    total, lost = two_sum(pair[0], value)
    return torch.stack([total, pair[1] + (rest + lost)])


def over_classes(pair: Tensor) -> Tensor:
    """(2, C, ...) sums of classes to the (2, ...) sum of all, pairwise."""
    while pair.shape[1] > 1:
        half = pair.shape[1] // 2
        merged = add_to(pair[:, :half], pair[0, half : 2 * half], pair[1, half : 2 * half])
        pair = torch.cat([merged, pair[:, 2 * half :]], dim=1)
    return pair[:, 0]


class ExactSums:
    """Σ c and, if asked, Σ c cᵀ of rows c, for each class apart or together, as (2, ...) sums.

    Each row is split into h + l: h has 19 bits at most, so that all sums of h and of products h hᵀ are exact, and l is
    2^17 times smaller than the largest row (Ozaki et al. 2012). With G = lᵀ(h + l/2) the second moment is
    hᵀh + G + Gᵀ: two matrix products, with an error 2^-17 of that of one.

    Attributes:
        total: (2, C, D).
        moment: (2, D, D) or, per class, (2, C, D, D): hᵀh, and G with half of what rounding lost.
        extent: (D,) the largest absolute value of each column.
    """

    def __init__(self, classes: int, dim: int, *, second: bool, per_class: bool, device: torch.device) -> None:
        shape = () if not second else ((classes, dim, dim) if per_class else (dim, dim))
        self.second, self.per_class = second, per_class
        self.total = torch.zeros(2, classes, dim, dtype=torch.float64, device=device)
        self.moment = torch.zeros(2, *shape, dtype=torch.float64, device=device)
        self.extent = torch.zeros(dim, dtype=torch.float64, device=device)
        self._open_total, self._open_moment = torch.zeros_like(self.total), torch.zeros_like(self.moment)
        self._rows = 0

    def add(self, rows: Tensor, codes: Tensor) -> None:
        """Add (B, D) float64 rows, B at most ``FLUSH_ROWS``, of (B,) classes; ``rows`` is overwritten."""
        largest = rows.abs().amax(0)
        if self._rows + len(rows) > FLUSH_ROWS or bool((largest > 2 * self.extent).any()):
            self.close()
            self.extent = torch.maximum(self.extent, largest)
        self._rows += len(rows)
        wide = self.extent * SPLIT
        high = (rows + wide).sub_(wide)
        low = rows.sub_(high)
        self._open_total[0].index_add_(0, codes, high)
        self._open_total[1].index_add_(0, codes, low)
        if not self.second:
            return
        middle = torch.add(high, low, alpha=0.5)
        if not self.per_class:
            _add_upper(self._open_moment[0], high)
            self._open_moment[1].addmm_(low.T, middle)
            return
        for code in np.unique(codes.cpu().numpy()).tolist():
            mine = codes == code
            _add_upper(self._open_moment[0, code], high[mine])
            self._open_moment[1, code].addmm_(low[mine].T, middle[mine])

    def close(self) -> None:
        """Bring everything added so far into ``total`` and ``moment``."""
        self.total = add_to(self.total, *self._open_total)
        self._open_total.zero_()
        if self.second:
            upper = self._open_moment[0].triu()
            self.moment = add_moment(self.moment, upper + upper.triu(1).mT, self._open_moment[1])
            self._open_moment.zero_()
        self._rows = 0


def _add_upper(moment: Tensor, rows: Tensor) -> None:
    """Add rowsᵀ·rows, of which the upper triangle is enough: strip by strip, for 3/5 of the work."""
    for start in range(0, len(moment), STRIP):
        moment[start : start + STRIP, start:].addmm_(rows[:, start : start + STRIP].T, rows[:, start:])


def add_moment(pair: Tensor, high: Tensor, half: Tensor) -> Tensor:
    """:func:`add_to` for a second moment, whose rest counts twice: as it is and transposed."""
    total, lost = two_sum(pair[0], high)
    return torch.stack([total, pair[1] + (half + lost / 2)])


def scatter(count: Tensor, total: Tensor, moment: Tensor) -> Tensor:
    """(D, D) Σ (c - c̄)(c - c̄)ᵀ of ``count`` rows with a (2, D) total and a (2, D, D) moment."""
    (t, rest), (high, half) = total, moment
    cross = torch.outer(t + 0.5 * rest, rest)
    found: Tensor = difference_of_products(count, high, t.unsqueeze(1), t)
    found += count * (half + half.T) - (cross + cross.T)
    return found / count


def moved_total(pair: Tensor, count: Tensor, by: Tensor) -> Tensor:
    """(2, C, D) sums of rows c, (C,) of them, to the sums of c - ``by``."""
    product, lost = two_product(count.double().unsqueeze(1), -by)
    return add_to(pair, product, lost)


def moved_moment(pair: Tensor, total: Tensor, count: Tensor, by: Tensor) -> Tensor:
    """A (2, D, D) moment Σ c cᵀ to that of c - ``by``: less by·tᵀ and t·byᵀ for the (2, D) total t, plus n·by·byᵀ."""
    column = by.unsqueeze(1)
    cross, lost = two_product(-column, total[0])
    both, rest = two_sum(cross, cross.T)
    pair = add_moment(pair, both, rest / 2 + lost - column * total[1])
    often, lost_often = two_product(count.double(), by)
    square, lost_square = two_product(often.unsqueeze(1), by)
    small = (lost_square + torch.outer(lost_often, by)).triu()
    upper = square.triu()
    return add_moment(pair, upper + upper.triu(1).T, (small + small.triu(1).T) / 2)


def tidied(pair: Tensor) -> Tensor:
    """The same (2, ...) sum with the rounded value first and what is below its last digit second."""
    return torch.stack(two_sum(pair[0], pair[1]))


def tidied_moment(pair: Tensor) -> Tensor:
    """The same for second moments, whose rest counts twice."""
    total, rest = two_sum(pair[0], pair[1] + pair[1].mT)
    return torch.stack([total, rest / 2])
