"""Readings while training: is the representation alive, and (where labels exist) is it getting better?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unlabeled.backbones import Backbone
from unlabeled.core import dist, rng, run_files
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.probes import knn_reading
from unlabeled.probes.measures import embedding_std, rankme
from unlabeled.recipes.schema import HealthConfig
from unlabeled.runs.pictures import save_picture
from unlabeled.ssl.method import Batch, DataInfo, Method, Step

COLLAPSED_STD = 0.02
"""Spread of l2-normalised embeddings, times sqrt(D), below which they are all but one point (healthy: near 1)."""


class Health:
    """RankMe and embedding spread of a fixed sample of training images; kNN of one half from the other."""

    def __init__(self, images: ImageSet, config: HealthConfig, info: DataInfo, folder: Path, seed: int) -> None:
        count = min(config.images, len(images))
        rows = rng.numpy_generator(seed, "health").permutation(len(images))[:count]
        self.sample = images.subset(np.sort(rows))
        self.info, self.folder = info, folder

    def __call__(self, method: Method, batch: Batch, step: Step) -> Mapping[str, float]:
        """Read the backbone as it is, in eval mode; write the method's pictures."""
        if dist.rank() != 0:
            return {}
        kept, pixels = method.kept(), self.sample.gather(np.arange(len(self.sample)))
        features = Backbone(kept.backbone).embed(pixels)
        row = {"rankme": rankme(features), "embedding_std": embedding_std(features)}
        if row["embedding_std"] < COLLAPSED_STD:
            say(
                f"warning: the embeddings have collapsed (spread {row['embedding_std']:.3f}, "
                f"RankMe {row['rankme']:.1f}); lower optimizer.lr, lengthen optimizer.warmup_epochs, "
                "or strengthen the views."
            )
        labels = self.sample.labels
        if labels is not None and len(np.unique(labels)) > 1:
            row["knn_train_split"] = knn_reading(features, labels)
            for name, network in kept.beside.items():
                row[f"{name}_knn_train_split"] = knn_reading(Backbone(network).embed(pixels), labels)
        for picture in method.pictures(batch, step):
            save_picture(picture, self.folder / run_files.PICTURES, step.epoch + 1)
        return row
