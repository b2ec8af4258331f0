"""Arrays that are kept on disk and made again when they are not what was kept."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from unlabeled.core.files import atomic_write


def save_array(path: str | os.PathLike[str], array: np.ndarray[Any, Any]) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    atomic_write(path, lambda handle: np.save(handle, array, allow_pickle=False))


def load_array(
    path: str | os.PathLike[str], kind: type[np.generic], shape: tuple[int, ...]
) -> np.ndarray[Any, Any] | None:
    """An array that :func:`save_array` kept; ``None`` if it is missing or not what was kept, and must be made again."""
    try:
        array: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and (array.dtype, array.shape) == (kind, shape) else None
