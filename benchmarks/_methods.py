"""One row of the table of methods: a recipe trained for a budget of CPU seconds, then probed.

CPU seconds are those of this process (`time.process_time`), so that other work on the machine costs nothing but
patience. The length of a training is set beforehand, from the CPU seconds of a step, so that its schedule ends with the
budget: `steps = (budget - what the method prepares) / step`. They make the smallest whole number of epochs that holds
them, each of them a random part of the images of the same size (an epoch of all images rarely fits a budget).
"""

from __future__ import annotations

import base64
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.files import cache_dir
from unlabeled.data import ImageSet, open_data
from unlabeled.engine.batches import Rows, Shuffled
from unlabeled.engine.keeper import Keeping
from unlabeled.engine.loop import train
from unlabeled.probes import knn_reading
from unlabeled.probes.catalog import probe_class
from unlabeled.probes.measures import rankme
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.banks import bank_of
from unlabeled.runs.models import Pixels, starting_backbone
from unlabeled.runs.prepared import Prepared, prepare
from unlabeled.ssl.method import Batch, BatchSampler, Method, Step

PROBES = ("linear", "knn", "nmc")
CURVE_IMAGES = 10_000
"""Training images whose leave-one-out kNN accuracy is read after each epoch."""
OVERRIDES: dict[str, tuple[str, ...]] = {
    # its paper's VGG11 takes five times as long a step: the table has one ResNet for all who can use it
    "random_teacher": ("backbone.name=resnet10_small", "backbone.args={stem_stride: 2}", "optimizer.warmup_epochs=0"),
}
"""What is changed in a recipe for the table, besides its length."""


@dataclass(frozen=True)
class Where:
    """The data, and where they lie."""

    data: str
    folder: str | None

    def split(self, part: str) -> ImageSet:
        """The images of a split, with labels."""
        return open_data(self.data, part, data_dir=self.folder)

    def recipe(self, name: str, seed: int, more: tuple[str, ...] = ()) -> Recipe:
        """A recipe on these data."""
        place = () if self.folder is None else (f"data.dir={self.folder}",)
        fixed = (f"data={self.data}", *place, f"seed={seed}", "health.every=0")
        return load_recipe(name, (*fixed, *OVERRIDES.get(name, ()), *more))


class Shortened:
    """The first so many batches of each epoch of another order."""

    def __init__(self, order: BatchSampler, batches: int) -> None:
        self.order, self.batches = order, batches

    def batches_per_epoch(self) -> int:
        """How many are left."""
        return self.batches

    def epoch(self, seed: int, epoch: int) -> Rows:
        """``(batches, batch_size)`` row numbers."""
        return self.order.epoch(seed, epoch)[: self.batches]


class Curve:
    """kNN accuracy on a fixed sample of training images after each epoch; its own time does not count."""

    def __init__(self, recipe: Recipe, images: ImageSet) -> None:
        rows = rng.numpy_generator(0, "curve").permutation(len(images))[:CURVE_IMAGES]
        self.sample, self.features = images.subset(np.sort(rows)), recipe.features
        self.points: list[tuple[float, float]] = []
        self.began, self.spent = time.process_time(), 0.0

    def __call__(self, method: Method, batch: Batch, step: Step) -> Mapping[str, float]:
        """Read the backbone as it is."""
        now = time.process_time()
        model = Backbone(method.kept().backbone, layer=self.features.layer, pool=self.features.pool)
        features = model.embed(self.sample.gather(np.arange(len(self.sample))))
        self.points.append((now - self.began - self.spent, knn_reading(features, self.sample.require_labels("kNN"))))
        self.spent += time.process_time() - now
        return {}

    def seconds(self) -> float:
        """CPU seconds since the beginning, without the readings."""
        return time.process_time() - self.began - self.spent


def step_seconds(recipe: Recipe, first: int = 4, more: int = 16) -> float:
    """CPU seconds of a step of the real loop, without what starting it costs."""

    def spent(steps: int) -> float:
        ready = prepare(recipe)
        began = time.process_time()
        _train(recipe, ready, 100, Shuffled(len(ready.images), recipe.batch_size), steps)
        return time.process_time() - began

    return (spent(first + more) - spent(first)) / more


def _train(
    recipe: Recipe,
    ready: Prepared,
    epochs: int,
    order: BatchSampler,
    most: int | None = None,
    observer: Curve | None = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train(
            ready.method,
            ready.images,
            ready.views,
            recipe.optimizer,
            epochs=epochs,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            hardware=ready.hardware,
            keeping=Keeping(Path(folder), log_every=50, save_seconds=1e9),
            observer=observer,
            max_steps=most,
            sampler=order,
        )


def lengths(steps: int, full: int) -> tuple[int, int]:
    """Epochs, and batches in each of them, for about ``steps`` batches where a whole epoch has ``full``.

    >>> lengths(500, 195), lengths(195, 195), lengths(10, 195)
    ((3, 166), (1, 195), (1, 10))
    """
    epochs = max(1, math.ceil(steps / full))
    return epochs, max(1, steps // epochs)


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe for so many epochs: a warm-up, and whatever else it counts in epochs, keeps its share."""
    share = epochs / recipe.epochs
    method = recipe.method
    counted = {
        name: type(value)(max(value * share, 1)) if isinstance(value, int) else value * share
        for name, value in method
        if name.endswith("_epochs") and value
    }
    optimizer = recipe.optimizer.model_copy(update={"warmup_epochs": recipe.optimizer.warmup_epochs * share})
    return recipe.model_copy(
        update={"epochs": epochs, "optimizer": optimizer, "method": method.model_copy(update=counted)}
    )


def trained(where: Where, name: str, seed: int, budget: float, step: float, more: tuple[str, ...] = ()) -> Any:
    """Train a recipe for ``budget`` CPU seconds, and measure what came out.

    Args:
        step: CPU seconds of one of its steps.
        more: further settings of the recipe.
    """
    recipe = where.recipe(name, seed, more)
    ready, asked = prepare(recipe), 0.0
    if ready.method.needs_prepare:
        asked = time.process_time()
        ready.method.prepare(
            ready.images.without_labels(),
            seed=seed,
            batch_size=recipe.batch_size,
            cache=Path(tempfile.mkdtemp(dir=cache_dir())),
            device=torch.device("cpu"),
        )
        asked = time.process_time() - asked
    order = ready.method.sampler(recipe.batch_size) or Shuffled(len(ready.images), recipe.batch_size)
    epochs, batches = lengths(math.floor((budget - asked) / step), order.batches_per_epoch())
    own = shortened(recipe, epochs)
    if own.method != recipe.method:
        ready = prepare(own)
    curve = Curve(own, ready.images)
    _train(own, ready, epochs, Shortened(order, batches), observer=curve)
    seconds = asked + curve.seconds()
    kept, features = ready.method.kept(), own.features
    row = measured(Backbone(kept.backbone, layer=features.layer, pool=features.pool).eval(), where)
    beside = {kind: measured(Backbone(network).eval(), where) for kind, network in kept.beside.items()}
    return {
        "backbone": own.backbone.name,
        "epochs": epochs,
        "batches": batches,
        "batch size": own.batch_size,
        "images": len(ready.images),
        "seconds": round(seconds, 1),
        "prepared": round(asked, 1),
        "step": step,
        "curve": [[round(second + asked, 1), round(figure, 4)] for second, figure in curve.points],
        "settings": settings(recipe),
        **row,
        "beside": beside,
    }


def settings(recipe: Recipe) -> dict[str, Any]:
    """What a row's figures depend on; where a recipe has changed since, the row is stale."""
    return recipe.model_dump(
        mode="json", include={"batch_size", "backbone", "method", "views", "optimizer", "features"}
    )


def random_start(where: Where, name: str, seed: int) -> dict[str, Any]:
    """A recipe's backbone before any training."""
    recipe, images = where.recipe(name, seed), where.split("train")
    network = starting_backbone(recipe, *images.shape[:2], *images.statistics())
    features = recipe.features
    model = Backbone(network, layer=features.layer, pool=features.pool).eval()
    return {"backbone": recipe.backbone.name, **measured(model, where)}


def raw_pixels(where: Where) -> dict[str, Any]:
    """The images themselves."""
    return {"backbone": "–", **measured(Pixels(where.split("train").shape[0]), where)}


def measured(model: Backbone | Pixels, where: Where) -> dict[str, Any]:
    """Accuracy of each probe on the test images, which of them it got right, and RankMe of their embeddings."""
    train_bank, test_bank = (bank_of(model, where.split(part)) for part in ("train", "test"))
    labels = where.split("test").require_labels("probing")
    row: dict[str, Any] = {"dimension": train_bank.dim}
    for name in PROBES:
        probe = probe_class(name).for_suite(0, None)
        probe.fit(train_bank)
        right = np.asarray(probe.predict(test_bank)) == labels
        row[name] = float(right.mean())
        row[f"{name} right"] = base64.b64encode(np.packbits(right).tobytes()).decode()
    row["rankme"] = rankme(torch.from_numpy(np.asarray(test_bank.features, np.float32)))
    return row


def right_ones(row: Mapping[str, Any], probe: str, images: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which test images a probe got right, as :func:`measured` kept them."""
    bits = np.frombuffer(base64.b64decode(row[f"{probe} right"]), np.uint8)
    return np.unpackbits(bits, count=images).astype(bool)
