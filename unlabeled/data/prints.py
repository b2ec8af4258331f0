"""Hashes of images' pixels: by them images are known when rows are numbered again and files have gone."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
from torch import Tensor

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Pixels(Protocol):
    """Rows of uint8 images ``(B, C, H, W)``."""

    def __len__(self) -> int: ...

    def gather(self, rows: Rows) -> Tensor: ...


def pixel_prints(images: Pixels, rows: Rows | None = None) -> list[str]:
    """A hash of each image's stored pixels, in the order of ``rows`` (default: all): what a deletion record names."""
    rows = np.arange(len(images), dtype=np.int64) if rows is None else rows
    out: list[str] = []
    for start in range(0, len(rows), 1024):
        pixels = images.gather(rows[start : start + 1024]).numpy()
        out += [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in pixels]
    return out
