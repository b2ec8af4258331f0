from __future__ import annotations

from pathlib import Path

import numpy as np

from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe


def test_probes_read_the_features_that_the_recipe_names(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = {f"x_{split}": random.integers(0, 256, (40, 16, 16), np.uint8) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(40) % 2 for split in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)
    data = f"data=npz:{tmp_path / 'data.npz'}"
    features = ("features.layer=layer3", "features.pool=flat")
    pretrain("random", tmp_path / "run", overrides=(data, "epochs=0", "batch_size=8", *features))
    default, last = (probe(tmp_path / "run", layer=layer, probes=["nmc"]) for layer in (None, "layer4"))
    assert (default["dimension"], last["dimension"]) == (128 * 2 * 2, 256)
    assert "layer3, flat" in default["model"]
