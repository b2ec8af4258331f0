"""A representation that has collapsed is named while it trains; a living one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled import backbones
from unlabeled.data import ImageSet
from unlabeled.recipes.schema import HealthConfig
from unlabeled.runs.health import Health
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.methods import METHODS

MEAN, STD = (0.5,), (0.25,)
SMALL = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}


@pytest.mark.parametrize("alive", [True, False])
def test_collapse_is_named(alive: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16), dtype=np.uint8)
    images = ImageSet.from_arrays(pixels, np.arange(40) % 2, name="noise")
    model = backbones.create("resnet10_small", in_chans=1, image_size=16, mean=MEAN, std=STD, seed=1, **SMALL)
    if not alive:  # whatever comes in, the same comes out
        for name, value in model.named_parameters():
            torch.nn.init.constant_(value, 0.1 if name.endswith("bias") else 0.0)
    info = DataInfo(40, 1, 16, 16, 2, MEAN, STD)
    method = METHODS["rotation"](METHODS["rotation"].Config(), model, info)
    health = Health(images, HealthConfig(), info, tmp_path, seed=0)
    row = health(method, Batch([], torch.arange(0)), Step(3, 4, 8, 0, 16))
    said = capsys.readouterr().err
    assert ("warning: the embeddings have collapsed (spread 0.000, RankMe 1.0)" in said) is not alive
    assert (row["embedding_std"] > 0.02) is alive
    assert (row["rankme"] > 1.5) is alive
    assert 0 <= row["knn_train_split"] <= 1
