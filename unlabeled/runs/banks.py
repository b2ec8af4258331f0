"""The features of a model on a data set, from the cache where they were extracted before."""

from __future__ import annotations

from typing import Literal

from unlabeled.backbones import Backbone
from unlabeled.core import dist
from unlabeled.core.device import chosen
from unlabeled.data import ImageSet
from unlabeled.engine.loop import best_precision
from unlabeled.probes import FeatureBank, extract
from unlabeled.probes.store import ExceedFloat16
from unlabeled.runs.models import Pixels

HALF: dict[str, Literal["bfloat16", "float16"]] = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}


def bank_of(model: Backbone | Pixels, images: ImageSet) -> FeatureBank:
    """The model's feature bank of a data set, from the cache if it was made before; float16 where the features fit."""

    def banked(dtype: Literal["float16", "float32"]) -> FeatureBank:
        return extract(
            model,
            images,
            mean=model.mean.flatten().tolist(),
            std=model.std.flatten().tolist(),
            size=model.image_size if model.image_size != images.shape[1] else None,
            dtype=dtype,
            autocast=HALF.get(best_precision("auto")) if isinstance(model, Backbone) else None,
            cache="default",
            device=chosen(),
        )

    try:
        return banked("float16")
    except ExceedFloat16:
        if dist.active():  # the other ranks may have met no such features
            raise
        return banked("float32")
