"""Which images form the batch of a step: a function of (seed, epoch, step), prefetched by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import dist, rng
from unlabeled.engine.transfer import Transfer
from unlabeled.ssl.method import BatchSampler, Step

Rows = np.ndarray[Any, np.dtype[np.int64]]


class LabelledImages(Protocol):
    """What the loop needs of a data set."""

    @property
    def labels(self) -> Rows | None: ...

    def __len__(self) -> int: ...

    def gather(self, rows: Rows) -> Tensor: ...


class Shuffled:
    """Plain shuffling without replacement; the incomplete last batch of an epoch is left out."""

    def __init__(self, num_images: int, batch_size: int) -> None:
        self.num_images, self.batch_size = num_images, batch_size

    def batches_per_epoch(self) -> int:
        """How many whole batches an epoch has."""
        return self.num_images // self.batch_size

    def epoch(self, seed: int, epoch: int) -> Rows:
        """``(batches, batch_size)`` row numbers."""
        order = rng.numpy_generator(seed, "order", epoch).permutation(self.num_images)
        used = self.batches_per_epoch() * self.batch_size
        return order[:used].reshape(-1, self.batch_size)


@dataclass(frozen=True)
class Schedule:
    """How long training is and how a global batch is shared out."""

    epochs: int
    per_epoch: int
    batch_size: int
    accumulate: int
    seed: int

    @property
    def total(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * self.per_epoch

    def step(self, number: int, first: int = 0) -> Step:
        """Where training stands after ``number`` optimiser steps."""
        return Step(number, self.per_epoch, self.total, self.seed, self.batch_size, first)


HOST = torch.device("cpu")


class BatchStream:
    """Iterate this rank's parts of all global batches from ``start`` (an optimiser step) to the end.

    Yields dictionaries: ``images`` uint8 ``(B, C, H, W)``, ``rows`` ``(B,)``, ``first`` (position of the part in
    the global batch), ``labels`` ``(B,)`` where asked for; the tensors on ``device``.
    """

    def __init__(
        self,
        images: LabelledImages,
        sampler: BatchSampler,
        schedule: Schedule,
        start: int,
        with_labels: bool,
        device: torch.device = HOST,
        ahead: int = 2,
    ) -> None:
        self.images, self.sampler, self.schedule = images, sampler, schedule
        self.start, self.with_labels, self.device, self.ahead = start, with_labels, device, ahead

    def _produce(self, transfer: Transfer) -> Iterator[tuple[dict[str, Any], torch.Event | None]]:
        source = transfer.source(self.images)
        schedule, parts = self.schedule, self.schedule.accumulate * dist.world_size()
        size = schedule.batch_size // parts
        rows: Rows = np.empty((0, 0), np.int64)
        for step in range(self.start, schedule.total):
            epoch, number = divmod(step, schedule.per_epoch)
            if step == self.start or number == 0:
                rows = self.sampler.epoch(schedule.seed, epoch)
            for part in range(schedule.accumulate):
                first = (part * dist.world_size() + dist.rank()) * size
                mine = rows[number, first : first + size]
                more = {"rows": torch.from_numpy(mine.copy()), "first": first}
                if self.with_labels and self.images.labels is not None:
                    more["labels"] = torch.from_numpy(self.images.labels[mine])
                yield transfer.begin(source, mine, more)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        ready: queue.Queue[Any] = queue.Queue(self.ahead)
        stopped = threading.Event()
        transfer = Transfer(self.device)

        def fill() -> None:
            try:
                for batch in self._produce(transfer):
                    while not stopped.is_set():
                        try:
                            ready.put(batch, timeout=0.2)
                            break
                        except queue.Full:
                            continue
                    if stopped.is_set():
                        return
                ready.put(None)
            except BaseException as error:  # handed to the consumer, which raises it
                ready.put(error)

        threading.Thread(target=fill, daemon=True, name="batches").start()
        try:
            while (batch := ready.get()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                yield transfer.finish(*batch)
        finally:
            stopped.set()
