from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from unlabeled.cli.present import show_forgetting
from unlabeled.data.images import ImageSet
from unlabeled.verbs.demo_forget import forget_a_class


def blobs(count: int, split: str) -> ImageSet:
    random = np.random.default_rng(count)
    labels = np.arange(count) % 3
    pixels = random.normal(60, 20, (count, 8, 8))
    for c in range(3):
        pixels[labels == c, 3 * c : 3 * c + 2] += 120
    return ImageSet.from_arrays(pixels.clip(0, 255).astype(np.uint8), labels, name="blobs", split=split, classes="abc")


def test_the_demo_forgets_beside_its_controls_and_repeats_nothing(tmp_path: Path) -> None:
    train, test = blobs(300, "train"), blobs(90, "test")
    rows, said = forget_a_class(train, test, tmp_path)
    assert [row.method for row in rows] == ["original", "retrain", "head_only", "laf"]
    assert rows[0].measures["test_f"] > 0.9
    assert rows[1].measures["test_f"] == 0
    assert rows[3].model != rows[0].model
    assert said.startswith("class:0: 100 of 300 images")
    assert len(json.loads((tmp_path / "record.json").read_text())["images"]) == 100
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    assert "head_only: its embeddings are the original's" in show_forgetting(rows, said)
    assert [r.seconds for r in forget_a_class(train, test, tmp_path)[0][1:]] == [r.seconds for r in rows[1:]]
