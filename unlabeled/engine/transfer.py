"""Images on their way to a GPU: copied while it computes, or all of them kept there if they are few."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unlabeled.core.device import send, taken

Rows = np.ndarray[Any, np.dtype[np.int64]]

SHARE = 0.1
"""Of the GPU's free memory that images may take to stay there for the whole training."""
CHUNK = 4096
"""Images copied at once."""


class Gathers(Protocol):
    """Images by their row numbers, uint8 ``(B, C, H, W)``."""

    def __len__(self) -> int: ...

    def gather(self, rows: Rows) -> Tensor: ...


class Resident:
    """All images of a set on a device."""

    def __init__(self, images: Gathers, device: torch.device) -> None:
        parts = range(0, len(images), CHUNK)
        rows = [np.arange(start, min(start + CHUNK, len(images))) for start in parts]
        self.pixels = torch.cat([send(images.gather(part), device) for part in rows])

    def __len__(self) -> int:
        return len(self.pixels)

    def gather(self, rows: Rows) -> Tensor:
        """Images ``rows`` on the device."""
        return taken(self.pixels, rows)


class Transfer:
    """Moves batches to ``device``. On a GPU, ``begin`` (in the reading thread) copies in a stream of its own while the
    GPU computes, and ``finish`` (in the training thread) lets the computation wait for the copy, but not the host.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def source(self, images: Gathers) -> Gathers:
        """Where to gather from: the device itself if the images are few enough to stay there."""
        if self.stream is None:
            return images
        bytes_in_all = images.gather(np.zeros(1, np.int64)).numel() * len(images)
        if 2 * bytes_in_all > SHARE * torch.cuda.mem_get_info(self.device)[0]:  # twice, while parts are joined
            return images
        with torch.cuda.stream(self.stream):
            return Resident(images, self.device)

    def begin(self, images: Gathers, rows: Rows, more: dict[str, Any]) -> tuple[dict[str, Any], torch.Event | None]:
        """Gather ``rows`` and send them, with the tensors of ``more``, on their way."""
        if self.stream is None:
            return {"images": images.gather(rows), **more}, None
        with torch.cuda.stream(self.stream):
            batch = {"images": images.gather(rows), **more}
            batch = {k: send(v, self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            return batch, self.stream.record_event()

    def finish(self, batch: dict[str, Any], copied: torch.Event | None) -> dict[str, Any]:
        """Make a batch usable in the current stream."""
        if copied is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(copied)
            for value in batch.values():
                if isinstance(value, Tensor):
                    value.record_stream(now)
        return batch
