"""Every forgetting method on a GPU, without one: where the host waits for it is known, and why; never in a step.

A method that is added to the list of methods is tried here by itself.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import timm
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, PixelArray, Preprocess
from unlabeled.forgetting.methods import METHODS, forgetter_class

CLASSES, SIZE = 3, 8
FEWER = {"epochs": 1, "vae_epochs": 1, "repair_epochs": 1, "rebuild_epochs": 1, "max_epochs": 1, "batch_size": 8}
"""Settings, wherever a method has them."""
ALLOWED = {
    ("unlabeled/forgetting/epochs.py", "mean_loss"): 0.5,  # the mean loss, whether it is finite: once an epoch
    ("unlabeled/forgetting/methods/boundary.py", "nearest_classes"): 1,  # the nearest classes are labels: once
    ("unlabeled/forgetting/methods/ssd.py", "dampen"): 1,  # how many weights were selected: once a dampening
    ("unlabeled/forgetting/training/agreement.py", "__call__"): 1,  # whether answers stayed: once an attempt
    ("unlabeled/forgetting/methods/slug.py", "importance"): 0.5,  # which layer to move: once a layer
    ("unlabeled/forgetting/methods/slug.py", "alignment"): 0.5,
    ("unlabeled/forgetting/methods/slug.py", "longest_step"): 0.5,  # how far at most: once a layer
    ("unlabeled/forgetting/training/stopping.py", "_enough"): 0,  # whether to stop: once in many steps
    ("unlabeled/forgetting/training/stopping.py", "__init__"): 1,  # what the rule waits for: once
    ("unlabeled/forgetting/methods/duck.py", "forgotten"): 0,  # whether to stop: once an epoch
    ("unlabeled/forgetting/methods/exact_head.py", "_forget"): 0.5,  # sums are made on the host: once a set
}
"""All places where a forgetting method may wait for the device, and the value that is read there."""


def images(count: int) -> LabelledImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, SIZE, SIZE), dtype=np.uint8)
    return LabelledImages(PixelArray(pixels), np.arange(count) % CLASSES, Preprocess((0.4,), (0.2,)))


def network() -> Classifier:
    extractor = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 16)
    )
    return reinitialised(Classifier(extractor, nn.Linear(16, CLASSES)), "small", 0)


def transformer() -> Classifier:
    size = {"img_size": SIZE, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    extractor = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, **size)
    return Classifier(extractor, nn.Linear(16, CLASSES))


def small(name: str, **settings: object) -> AnyForgetter:
    method = forgetter_class(name)
    few = {key: v for key, v in FEWER.items() if key in method.Config.model_fields}
    return method(method.Config(**{**few, **settings}))


NOT_FOLLOWED = {
    "scar": "which groups of embeddings there are, and of what size, follows from values, which nothing has here",
    "alignment_calibration": "its steps are those of a run's own method, which test_methods.py follows",
}
"""Methods that are not tried here, and why."""
CASES = [
    *((name, {"alpha": 2.0} if name == "ssd" else {}) for name in METHODS if name not in NOT_FOLLOWED),
    ("laf", {"stop": "unseen", "stop_every": 1, "noise": True}),
    ("laf", {"stop": "answers", "stop_every": 1}),
    ("random_label", {"stop": "unseen", "stop_every": 1}),
]
ENCODERS = [name for name in METHODS if not forgetter_class(name).needs_head and name not in NOT_FOLLOWED]


def accepts(method: AnyForgetter, model: Classifier, data: ForgetData) -> bool:
    try:
        method.check(model, data)
    except UserError:
        return False
    return True


def forget(name: str, fake: ModuleType, head: bool, **settings: object) -> set[tuple[str, str]]:
    """Let it forget on the device; where the host waited."""
    method, data = small(name, **settings), ForgetData(images(16), images(9), images(8))
    if not method.needs_labels:
        data = data.without_labels()
    original = network() if accepts(method, network(), data) else transformer()
    with fake.fake_gpu(ALLOWED) as gpu:
        model = fake.moved(original if head else Classifier(original.extractor))
        found = method._forget(model, data, Frame(method.config, 0, fake.GPU))
        assert {value.device for value in found.state_dict().values()} == {fake.GPU}
        assert not gpu.unpinned, f"{name}: copies that the host waits for: {gpu.unpinned}"
        return set(gpu.read)


def test_every_method_stays_on_the_device(fake: ModuleType) -> None:
    waited = set[tuple[str, str]]().union(*(forget(name, fake, True, **settings) for name, settings in CASES))
    assert waited == set(ALLOWED), "a place of the list where nothing waits any more"


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_without_a_classifier_do_too(name: str, fake: ModuleType) -> None:
    forget(name, fake, False)
