from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.ssl.samplers import DiverseBatches

sizes = st.lists(st.integers(0, 40), min_size=2, max_size=30) | st.lists(
    st.sampled_from([1, 2, 3, 200]), min_size=2, max_size=30
)


def clusters_of(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return np.random.default_rng(seed).permutation(labels)


def greedy(counts, batch_size):
    """How many batches always taking one from the B fullest clusters makes: the most possible."""
    left, batches = np.array(counts), 0
    while (left > 0).sum() >= batch_size:
        left[np.argsort(-left, kind="stable")[:batch_size]] -= 1
        batches += 1
    return batches


@settings(max_examples=150, deadline=None)
@given(counts=sizes, data=st.data())
def test_no_batch_holds_two_images_of_a_cluster_and_no_epoch_an_image_twice(counts, data):
    occupied = sum(n > 0 for n in counts)
    assume(occupied >= 1)
    batch_size = data.draw(st.integers(1, occupied))
    labels = clusters_of(counts)
    sampler = DiverseBatches(labels, batch_size)
    batches = sampler.batches_per_epoch()
    for epoch in (0, 1, data.draw(st.integers(2, 10**6))):
        rows = sampler.epoch(seed=5, epoch=epoch)
        assert rows.shape == (batches, batch_size)
        assert rows.dtype == np.int64
        assert len(np.unique(rows)) == rows.size
        assert all(len(np.unique(labels[batch])) == batch_size for batch in rows)


@settings(max_examples=150, deadline=None)
@given(counts=sizes, data=st.data())
def test_an_epoch_has_as_many_batches_as_there_can_be(counts, data):
    occupied = sum(n > 0 for n in counts)
    assume(occupied >= 1)
    batch_size = data.draw(st.integers(1, occupied))
    found = DiverseBatches(clusters_of(counts), batch_size).batches_per_epoch()

    def fills(m):
        return np.minimum(counts, m).sum() >= m * batch_size

    assert fills(found)
    assert not any(fills(m) for m in range(found + 1, sum(counts) // batch_size + 2))
    assert found == greedy(counts, batch_size)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 30), min_size=3, max_size=12), data=st.data())
def test_leftovers_come_next(counts, data):
    """In every cluster the images are used in turn: after any number of epochs the counts differ by one at most."""
    batch_size = data.draw(st.integers(2, len(counts)))
    labels = clusters_of(counts)
    sampler = DiverseBatches(labels, batch_size)
    used = np.zeros(len(labels), int)
    for epoch in range(40):
        np.add.at(used, sampler.epoch(1, epoch).ravel(), 1)
        for cluster in range(len(counts)):
            mine = used[labels == cluster]
            assert mine.max() - mine.min() <= 1


def test_all_images_are_seen_over_the_epochs():
    counts = [100, 60, 9, 8, 8, 7, 5, 5]
    sampler = DiverseBatches(clusters_of(counts), 6)
    assert sampler.batches_per_epoch() * 6 < 100
    epochs = -(-100 // (sampler.batches_per_epoch() - 1))
    seen = {row for epoch in range(epochs) for row in sampler.epoch(0, epoch).ravel().tolist()}
    assert len(seen) == sum(counts)


def test_epochs_and_seeds_differ_and_repeat_exactly():
    labels = clusters_of([30, 20, 20, 10, 10, 9])
    sampler = DiverseBatches(labels, 4)
    first = sampler.epoch(0, 0)
    assert np.array_equal(first, DiverseBatches(labels, 4).epoch(0, 0))
    for seed, epoch in ((0, 1), (1, 0), (0, 2)):
        other = sampler.epoch(seed, epoch)
        assert not np.array_equal(first, other)
        assert {frozenset(batch) for batch in first.tolist()} != {frozenset(batch) for batch in other.tolist()}


def test_sixty_thousand_images_take_well_under_two_seconds():
    weights = np.random.default_rng(0).dirichlet(np.ones(1024))
    labels = np.random.default_rng(1).choice(1024, 60000, p=weights)
    start = time.perf_counter()
    DiverseBatches(labels, 256).epoch(0, 7)
    assert time.perf_counter() - start < 2


def test_too_few_clusters_are_refused():
    with pytest.raises(UserError, match=r"only 3 have images; set batch_size=3 or less, or method.clusters to 8"):
        DiverseBatches(clusters_of([5, 5, 0, 5]), 4)
