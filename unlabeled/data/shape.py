"""The size and the channels to which the images of a source are decoded."""

from __future__ import annotations

import numpy as np

from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import say
from unlabeled.data.decode import measure
from unlabeled.data.listing import Listing
from unlabeled.data.ondemand import Shape

DEFAULT_SIZE = 32
"""Side in pixels of images that come in several sizes and for which no size was asked."""
LARGEST_NATIVE = 256
"""Images with a longer side than this are never decoded at their native size unless asked."""
_SAMPLE = 256


def decoded_shape(name: str, listing: Listing, rule: PixelRule, size: int | None, channels: int | None) -> Shape:
    """Decide the decoded shape; what was not asked for is measured on up to 256 images spread over the source."""
    if rule.bands is not None and channels is None:
        channels = len(rule.bands)
    if size is not None and channels is not None:
        return channels, size, size
    sizes, depths = _measure(listing, rule, 1 if listing.array is not None else _SAMPLE)
    if channels is None:
        channels = max(depths) if depths else 3
    if size is not None:
        return channels, size, size
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        if listing.array is not None or max(height, width) <= LARGEST_NATIVE:
            return channels, height, width
    why = "differ in size" if len(sizes) > 1 else "are large"
    say(f"the images of '{name}' {why}; decoding them to {DEFAULT_SIZE}×{DEFAULT_SIZE} (choose with data.size)")
    return channels, DEFAULT_SIZE, DEFAULT_SIZE


def _measure(listing: Listing, rule: PixelRule, most: int) -> tuple[set[tuple[int, int]], set[int]]:
    total = len(listing.names)
    sizes, depths = set(), set()
    for row in np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64)).tolist():
        measured = _try_measure(listing, row, rule)
        if measured is not None:
            sizes.add(measured[:2])
            depths.add(measured[2])
    return sizes, depths


def _try_measure(listing: Listing, row: int, rule: PixelRule) -> tuple[int, int, int] | None:
    try:
        return measure(listing.read(row), rule)
    except Exception:
        return None  # counted and listed when it is decoded
