"""Which device computes, and copies to it that the host does not wait for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def on_gpu(accelerator: str = "auto") -> bool:
    """Whether a GPU of CUDA or ROCm is meant by ``accelerator`` and is there."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def chosen(accelerator: str = "auto") -> torch.device:
    """The device that ``accelerator`` means: the current GPU, else the CPU."""
    return torch.device("cuda" if on_gpu(accelerator) else "cpu")


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor`` on ``device``; on its way to a GPU it is pinned, for only then does the copy run by itself."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def taken(tensor: Tensor, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    """``tensor[rows]``, where it lies.

    >>> taken(torch.tensor([5, 6, 7]), np.array([2, 0])).tolist()
    [7, 5]
    """
    return tensor.index_select(0, send(torch.from_numpy(np.ascontiguousarray(rows)), tensor.device))
