"""How a number goes from its first value to its last; everything that is scheduled follows one of these."""

from __future__ import annotations

import math


def cosine(start: float, end: float, passed: float) -> float:
    """Half a cosine: ``start`` where the fraction ``passed`` is 0, ``end`` where it is 1, steepest in between.

    >>> [round(cosine(1.0, 0.0, passed), 3) for passed in (0, 0.25, 0.5, 1)]
    [1.0, 0.854, 0.5, 0.0]
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * passed))


def linear(start: float, end: float, passed: float) -> float:
    """A straight line from ``start`` to ``end``, which stays there once the fraction ``passed`` is 1 or more.

    >>> linear(0.5, 1.0, 0.5), linear(0.5, 1.0, 7)
    (0.75, 1.0)
    """
    return start + (end - start) * min(passed, 1.0)
