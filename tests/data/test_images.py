from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.data.images import ImageSet, fingerprint_of
from unlabeled.data.rows import holdout, shares


def _set(n: int = 20, **arguments: Any) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 4, 5), dtype=np.uint8)
    return ImageSet("made", "train", images, np.arange(n) % 4, ["a", "b", "c", "d"], **arguments)


def test_gather_returns_the_rows_asked_for_also_from_a_memory_map_and_a_subset(tmp_path):
    made = _set()
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=made.images.shape)
    mapped[:] = made.images
    other = ImageSet("mapped", "train", mapped)
    rows = np.array([3, 3, 0, 19])
    for images in (made, other):
        batch = images.gather(rows)
        assert batch.dtype == torch.uint8
        assert np.array_equal(batch.numpy(), made.images[rows])
    part = other.subset(np.array([5, 1, 7])).subset(np.array([2, 0]))
    assert np.array_equal(part.images, made.images[[7, 5]])
    assert len(part) == 2
    assert part.shape == (3, 4, 5)


@pytest.mark.parametrize("rows", [[-1], [20], [0, 25]])
def test_rows_outside_the_set_are_refused(rows):
    with pytest.raises(IndexError):
        _set().gather(np.array(rows))
    with pytest.raises(IndexError):
        _set().subset(np.array(rows))


def test_labels_paths_and_fingerprint_follow_a_subset():
    made = _set(paths=[f"{i}.png" for i in range(20)])
    part = made.subset(np.array([4, 9]))
    assert part.labels is not None
    assert part.labels.tolist() == [0, 1]
    assert part.paths == ("4.png", "9.png")
    assert part.fingerprint != made.fingerprint
    nested = made.subset(np.array([9, 4])).subset(np.array([1, 0]))
    assert nested.fingerprint == part.fingerprint
    assert made.subset(np.array([9, 4])).fingerprint != part.fingerprint


def test_the_fingerprint_is_of_the_pixels():
    first, second = _set(), _set()
    assert first.fingerprint == second.fingerprint == first.without_labels().fingerprint
    changed = first.images.copy()
    changed[7, 0, 0, 0] ^= 1
    assert fingerprint_of(changed) != first.fingerprint
    assert fingerprint_of(changed.reshape(20, 3, 5, 4)) != fingerprint_of(changed)


def test_without_labels_nothing_tells_the_labels():
    blind = _set(paths=["cat/1.png"] * 20).without_labels()
    assert blind.labels is None
    assert blind.classes is None
    assert blind.paths is None
    assert not any(isinstance(value, np.ndarray) and value.shape == (20,) for value in vars(blind).values())
    with pytest.raises(UserError, match="linear probe needs labels"):
        blind.require_labels("the linear probe")


def test_wrong_pixels_labels_and_paths_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        ImageSet("x", "train", np.zeros((2, 3, 4, 4), dtype=np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 labels for 2 images"):
        ImageSet.from_arrays(np.zeros((2, 4, 4), dtype=np.uint8), [1])


def test_statistics_match_numpy_and_never_give_zero():
    made = _set()
    mean, std = made.statistics()
    pixels = made.images.astype(np.float64) / 255
    assert np.allclose(mean, pixels.mean(axis=(0, 2, 3)))
    assert np.allclose(std, pixels.std(axis=(0, 2, 3)))
    constant = ImageSet.from_arrays(np.full((3, 1, 2, 2), 9, dtype=np.uint8))
    assert constant.statistics()[1] == (1 / 255,)


def test_threads_gather_at_once():
    made = _set(500)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(50):
            rows = np.random.default_rng(seed).integers(0, 500, 64)
            if not np.array_equal(made.gather(rows).numpy(), made.images[rows]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@settings(max_examples=200, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 6), min_size=2, max_size=200),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 10),
    use_labels=st.booleans(),
)
def test_holdout_is_a_stratified_partition(labels, fraction, seed, use_labels):
    given_labels = np.array(labels) if use_labels else None
    kept, held = holdout(len(labels), given_labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert len(held) == min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    assert np.array_equal(held, np.sort(held))
    assert np.array_equal(kept, np.sort(kept))
    again = holdout(len(labels), given_labels, fraction, seed)
    assert np.array_equal(again[0], kept)
    if given_labels is not None:
        for label in set(labels):
            share = fraction * (given_labels == label).sum()
            assert abs((given_labels[held] == label).sum() - share) < 1 + 1e-9


def test_holdout_depends_on_the_seed_and_refuses_nonsense():
    assert not np.array_equal(holdout(100, None, 0.5, 0)[0], holdout(100, None, 0.5, 1)[0])
    for n, labels, fraction in ((1, None, 0.5), (5, None, 0.0), (5, None, 1.0), (5, np.zeros(4, dtype=int), 0.5)):
        with pytest.raises(ValueError, match=r"split|fraction"):
            holdout(n, labels, fraction, 0)


def test_pages_of_a_map_are_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    pixels.tofile(tmp_path / "pixels")
    monkeypatch.setattr("unlabeled.data.images.MAPPED_BYTES", 1)
    mapped = ImageSet(
        "map", "train", np.memmap(tmp_path / "pixels", np.uint8, "r", shape=pixels.shape), fingerprint="m"
    )
    assert mapped._mapping is not None
    rows = np.array([63, 0, 5, 5])
    for _ in range(3):
        assert np.array_equal(mapped.gather(rows).numpy(), pixels[rows])
    assert ImageSet.from_arrays(pixels)._mapping is None


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), fraction=st.floats(0.01, 0.99), data=st.data())
def test_shares_are_the_largest_remainders(sizes, fraction, data):
    """Beyond the floors, the largest remainders give, and no class is emptied before the others have given."""
    low = sum(int(size * fraction) for size in sizes)
    total = data.draw(st.integers(low, min(low + len(sizes), sum(sizes) - 1))) if low < sum(sizes) else low
    found = shares(np.array(sizes), fraction, total)
    floors = np.floor(np.array(sizes) * fraction).astype(int)
    more = found - floors
    assert found.sum() == total
    assert set(more) <= {0, 1}
    rest = np.array(sizes) * fraction - floors
    room = floors + 1 < np.array(sizes)
    assert not more[~room].any() or more[room].all()
    assert max(rest[room & (more == 0)], default=-1) <= min(rest[room & (more == 1)], default=1)
