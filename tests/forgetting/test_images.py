from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from unlabeled.core.errors import UserError
from unlabeled.data.images import ImageSet
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.images import LabelledImages, PixelArray, Preprocess, UnlabelledImages


def reachable(root: object) -> list[object]:
    """Every object that can be had from ``root``, modules and types left out."""
    seen: dict[int, object] = {}
    queue = [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ in ("module", "function"):
            continue
        seen[id(thing)] = thing
        queue += gc.get_referents(thing)
        if isinstance(thing, np.ndarray) and thing.base is not None:
            queue.append(thing.base)
    return list(seen.values())


def image_set(labelled: bool = True) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    labels = np.arange(30, dtype=np.int64) % 3 if labelled else None
    return ImageSet.from_arrays(pixels, labels, classes=["a", "b", "c"] if labelled else None)


def test_no_label_can_be_had_from_unlabelled_images() -> None:
    images = image_set()
    labels = images.labels
    assert labels is not None
    data = ForgetData(
        LabelledImages(images, labels, rows=np.arange(20)), LabelledImages(images, labels, rows=np.arange(20, 30))
    )
    hidden = data.without_labels()
    for part in (hidden.retain, hidden.forget, UnlabelledImages(images)):
        assert type(part) is UnlabelledImages
        assert not hasattr(part, "labels")
        assert not hasattr(part, "labelled_batches")
        found = reachable(part)
        arrays = [x for x in found if isinstance(x, np.ndarray | torch.Tensor)]
        assert arrays  # the walk does see arrays
        for array in arrays:  # no array but pixels (uint8) and row numbers, which are sorted and distinct
            values = np.asarray(array)
            assert values.dtype == np.uint8 or len(np.unique(values)) == values.size
        assert labels is not None
        assert not any(x is labels for x in found)
        assert not any(x in ("a", "b", "c") for x in found if isinstance(x, str))


def test_the_walk_finds_labels_where_they_are() -> None:
    images = image_set()
    assert any(x is images.labels for x in reachable(images))


def test_batches_follow_from_the_key_and_cover_everything() -> None:
    images = UnlabelledImages(image_set())
    first = [p.tolist() for p in images.positions(8, ("a", 1))]
    assert first == [p.tolist() for p in images.positions(8, ("a", 1))]
    assert first != [p.tolist() for p in images.positions(8, ("a", 2))]
    assert sorted(row for batch in first for row in batch) == list(range(30))
    assert [len(p) for p in images.positions(8, None, drop_last=True)] == [8, 8, 8]


def test_preprocessing_matches_the_formula() -> None:
    pixels = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    got = UnlabelledImages(PixelArray(pixels), Preprocess(mean, std)).batch(np.array([1, 0]))
    want = (pixels.double()[[1, 0]] / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(got.double(), want, atol=1e-6)
    resized = Preprocess((0.0,), (1.0,), size=8, channels=1)(pixels)
    assert resized.shape == (2, 1, 8, 8)


def test_labels_stay_with_their_images_through_subsets() -> None:
    images = image_set()
    assert images.labels is not None
    everything = LabelledImages(images, images.labels)
    part = everything.subset(np.array([4, 9, 11])).subset(np.array([2, 0]))
    assert part.labels.tolist() == [11 % 3, 4 % 3]
    assert torch.equal(part.batch(np.arange(2)), everything.batch(np.array([11, 4])))
    assert part.relabelled(torch.tensor([0, 2])).labels.tolist() == [0, 2]
    assert part.labels.tolist() == [2, 1]
    assert part.with_label(7).labels.tolist() == [7, 7]
    with pytest.raises(UserError, match="30 images but labels"):
        LabelledImages(images, np.zeros(3))


def test_fingerprints_name_content() -> None:
    images = UnlabelledImages(image_set())
    prints = images.image_fingerprints()
    assert len(set(prints)) == 30
    assert images.subset(np.array([3, 1])).image_fingerprints() == [prints[3], prints[1]]
    assert images.fingerprint == UnlabelledImages(image_set(False)).fingerprint
    assert images.fingerprint != images.subset(np.arange(29)).fingerprint
    with pytest.raises(UserError, match="uint8"):
        PixelArray(np.zeros((2, 1, 3, 3), np.float32))
