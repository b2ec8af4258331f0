"""A small problem all forgetting tests share: three blobs of 8x8 images and a network trained on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, PixelArray, Preprocess
from unlabeled.forgetting.methods.retrain import RetrainConfig
from unlabeled.forgetting.training.supervised import train_classifier


def small_net(seed: int = 0, classes: int = 3) -> Classifier:
    extractor = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 16)
    )
    return reinitialised(Classifier(extractor, nn.Linear(16, classes)), "small", seed)


def blobs(count: int, seed: int) -> tuple[PixelArray, np.ndarray]:
    """Noisy images; class c is bright in its own third of the rows."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = random.normal(90, 25, (count, 1, 8, 8))
    for c in range(3):
        pixels[labels == c, :, 3 * c : 3 * c + 2] += 70
    return PixelArray(pixels.clip(0, 255).astype(np.uint8)), labels.astype(np.int64)


@pytest.fixture(scope="session")
def net() -> Callable[..., Classifier]:
    """Makes the small network: ``net(seed, classes)``."""
    return small_net


@pytest.fixture(scope="session")
def train() -> LabelledImages:
    pixels, labels = blobs(360, 0)
    return LabelledImages(pixels, labels, Preprocess((0.4,), (0.2,)))


@pytest.fixture(scope="session")
def test() -> LabelledImages:
    pixels, labels = blobs(150, 1)
    return LabelledImages(pixels, labels, Preprocess((0.4,), (0.2,)))


@pytest.fixture(scope="session")
def split(train: LabelledImages) -> ForgetSplit:
    return forget_split("class:0", len(train), train.labels.numpy())


@pytest.fixture(scope="session")
def data(train: LabelledImages, test: LabelledImages, split: ForgetSplit) -> ForgetData:
    return ForgetData(train.subset(split.retain_rows), train.subset(split.forget_rows), test.without_labels())


@pytest.fixture(scope="session")
def model(train: LabelledImages) -> Classifier:
    config = RetrainConfig(epochs=5, lr=1e-2, batch_size=32, weight_decay=0.0)
    return train_classifier(small_net(), train, Frame(config))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Fast beside other jobs; other tests get their threads back, for sums differ in the last bit by their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
