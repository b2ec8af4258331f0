"""What the tasks of an evaluation have at hand: one model's features of any data, made once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet, open_data
from unlabeled.data.named import NAMED, find, roots
from unlabeled.evaluation.layers import layer_embeddings
from unlabeled.evaluation.tasks.base import Change, TaskConfig
from unlabeled.probes.features import FeatureBank
from unlabeled.runs.banks import bank_of
from unlabeled.runs.models import Pixels, features_of, input_size, load_backbone, open_model, unlearned


class Workbench:
    """One model's features of any data, from the user's cache where they were made before."""

    def __init__(self, model: str, data_dir: str | None, seed: int) -> None:
        self.model, self.data_dir, self.seed, self.device = model, data_dir, seed, str(chosen())
        self.shape = None if unlearned(model) else input_size(model)
        self.seen: dict[str, TaskConfig] = {}
        self._opened: dict[tuple[str, int, int], Backbone | Pixels] = {}

    def bank(
        self,
        config: TaskConfig,
        split: str,
        *,
        data: str | None = None,
        change: Change | None = None,
        pool: str | None = None,
    ) -> FeatureBank:
        """Features of a split of the task's data, or of other ``data``."""
        images = self._images(config, split, data or config.data)
        if data is None:
            images.require_labels(f"'{config.name}'")
            self.seen.setdefault(config.data, config)
        if change is not None:
            pixels = change(images.gather(np.arange(len(images)))).numpy()
            images = ImageSet(images.name, split, pixels, images.labels, images.classes)
        model = self._open(config, images)
        if pool is not None:
            model = Backbone(self._learned(model).model, pool=pool).eval()
        return bank_of(model, images)

    def layers(self, config: TaskConfig, split: str) -> dict[str, Tensor]:
        """Embeddings of a split by every layer; pixels have one."""
        images = self._images(config, split, config.data)
        model, pixels = self._open(config, images), images.gather(np.arange(len(images)))
        if isinstance(model, Pixels):
            return {"pixels": pixels.flatten(1).float()}
        return layer_embeddings(model, pixels)

    def _learned(self, model: Backbone | Pixels) -> Backbone:
        if isinstance(model, Pixels):
            raise UserError("pixels have no network of their own, which this task needs.")
        return model

    def backbone(self) -> Backbone:
        """The model, where it has a size of its own."""
        if unlearned(self.model):
            raise UserError(f"'{self.model}' has no size or weights of its own, which masks need.")
        return load_backbone(self.model)

    def folder(self, name: str) -> Path:
        """Where a data set's folder lies."""
        return Path(located(name, self.data_dir).removeprefix("folder:"))

    def _images(self, config: TaskConfig, split: str, data: str) -> ImageSet:
        channels, size = (config.channels, config.size) if self.shape is None else self.shape[:2]
        images = open_data(located(data, self.data_dir), split, data_dir=self.data_dir, size=size, channels=channels)
        if len(images) > config.images:
            rows = rng.numpy_generator(self.seed, "evaluate", data, split).permutation(len(images))[: config.images]
            images = images.subset(np.sort(rows))
        return images

    def _open(self, config: TaskConfig, images: ImageSet) -> Backbone | Pixels:
        # a random network is normalised by the task's own training images, whatever else it is shown
        key = (config.data, config.size, config.channels) if self.shape is None else ("", 0, 0)
        if key not in self._opened:
            like = self._images(config, "train", config.data) if self.shape is None else images
            reads = features_of(self.model)
            self._opened[key] = open_model(self.model, like, layer=reads.layer, pool=reads.pool, seed=self.seed)
        return self._opened[key]


def located(name: str, data_dir: str | None) -> str:
    """What to open a data set as; nothing is downloaded.

    Raises:
        UserError: it is not on this machine.
    """
    root = None if data_dir is None else Path(data_dir).expanduser()
    if name in NAMED:
        if find(name, root) is None:
            raise UserError(f"'{name}' is not on this machine; unlabeled data says where it is looked for")
        return name
    if name == "fashion-mini" or ":" in name or "/" in name:
        return name
    folder = next((place / name for place in roots(root) if (place / name).is_dir()), None)
    if folder is None:
        raise UserError(f"there is no folder '{name}' where data sets lie (--data-dir, $UNLABELED_DATA)")
    return str(folder)
