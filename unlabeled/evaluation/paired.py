"""Figures that are no mean over images, measured on resamples of the images that are the same for every model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unlabeled.core.rng import numpy_generator

RESAMPLES = 300


def resampled(figure: Callable[..., float], *sizes: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(300,) values of ``figure`` on bootstrap samples (Efron 1979).

    Two models that are measured on the same images get the same samples: the differences of their values say how sure
    the difference of their figures is.

    Args:
        figure: takes row numbers, one array for each of ``sizes``.
        sizes: rows of each set of images.
        seed: of the draws.

    >>> values = np.arange(100.0)
    >>> spread = resampled(lambda rows: values[rows].mean(), 100, seed=0).std()
    >>> bool(abs(spread - 28.9 / 10) < 0.4)  # of a mean of 100 values: a tenth of one value's
    True
    """
    found = []
    for number in range(RESAMPLES):
        generator = numpy_generator(seed, "resample", number)
        found.append(figure(*(generator.integers(0, size, size) for size in sizes)))
    return np.array(found, dtype=np.float64)
