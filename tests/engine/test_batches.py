"""Batches are a function of (seed, epoch, step): whole epochs, no repeats, the same from any starting point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.data import ImageSet
from unlabeled.engine.batches import BatchStream, Schedule, Shuffled
from unlabeled.engine.transfer import Resident, Transfer


def images(n: int) -> ImageSet:
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    return ImageSet.from_arrays(pixels, np.arange(n) % 3, name="t")


@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 2**40))
def test_an_epoch_repeats_no_image(n: int, batch_size: int, seed: int) -> None:
    sampler = Shuffled(n, min(batch_size, n))
    rows = sampler.epoch(seed, 0)
    assert rows.shape == (n // sampler.batch_size, sampler.batch_size)
    assert len(np.unique(rows)) == rows.size
    assert np.array_equal(rows, sampler.epoch(seed, 0))


def test_epochs_and_seeds_differ() -> None:
    sampler = Shuffled(100, 10)
    assert not np.array_equal(sampler.epoch(0, 0), sampler.epoch(0, 1))
    assert not np.array_equal(sampler.epoch(0, 0), sampler.epoch(1, 0))


@given(st.integers(0, 11))
def test_a_late_start_gives_the_same_batches(start: int) -> None:
    schedule = Schedule(epochs=3, per_epoch=4, batch_size=8, accumulate=2, seed=5)
    data = images(33)
    whole = list(BatchStream(data, Shuffled(33, 8), schedule, 0, with_labels=True))
    late = list(BatchStream(data, Shuffled(33, 8), schedule, start, with_labels=True))
    assert len(whole) == 24
    assert len(late) == 24 - 2 * start
    for one, two in zip(whole[2 * start :], late, strict=True):
        assert torch.equal(one["images"], two["images"])
        assert one["first"] == two["first"]
        assert torch.equal(one["images"][:, 0, 0, 0].long(), one["rows"])
        assert torch.equal(one["labels"], one["rows"] % 3)


def test_resident_images_are_the_same_images() -> None:
    data, rows = images(5000), np.array([4999, 0, 4096, 17, 0])
    assert torch.equal(Resident(data, torch.device("cpu")).gather(rows), data.gather(rows))


def test_on_the_cpu_nothing_is_copied() -> None:
    data, transfer = images(8), Transfer(torch.device("cpu"))
    assert transfer.source(data) is data
    batch, copied = transfer.begin(data, np.arange(3), {"first": 0})
    assert copied is None
    assert transfer.finish(batch, copied) is batch


def test_an_error_in_the_thread_reaches_the_consumer() -> None:
    class Broken:
        labels = None

        def __len__(self) -> int:
            return 16

        def gather(self, rows: object) -> torch.Tensor:
            raise OSError("disk gone")

    stream = BatchStream(Broken(), Shuffled(16, 8), Schedule(1, 2, 8, 1, 0), 0, with_labels=False)
    with pytest.raises(OSError, match="disk gone"):
        list(stream)
