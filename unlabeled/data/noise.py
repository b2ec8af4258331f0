"""``noise:N``: the data that nothing can be learned from."""

from __future__ import annotations

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.listing import Listing, from_array, printable

_MOST_NOISE = 4_000_000_000
"""Bytes of noise that are made at most, as it is made in memory."""


def noise(count: str, split: str, size: int, channels: int) -> Listing:
    """Make images of independent Gaussian noise N(0.5, 0.25), clipped to 0..1.

    Args:
        count: how many, as the user wrote it behind ``noise:``.
        split: train and test images are independent.
        size: their side in pixels.
        channels: how many each has.

    Raises:
        UserError: ``count`` is not a number, or more than memory should hold.
    """
    if not count.isdecimal() or not 0 < int(count[:12]) * size * size * channels <= _MOST_NOISE:
        most = _MOST_NOISE // (size * size * channels)
        raise UserError(f"'noise:{printable(count)}' is not a number of images from 1 to {most}; try noise:10000.")
    from unlabeled.core import rng  # imports torch, which listing data can do without

    generator = rng.numpy_generator("noise", split, size, channels)
    pixels = np.empty((int(count), size, size, channels), dtype=np.uint8)
    for image in pixels:  # image by image: the first images are the same for every N
        image[:] = np.clip(generator.normal(127.5, 63.75, image.shape).round(), 0, 255)
    return from_array(pixels, None)
