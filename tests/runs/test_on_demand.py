"""``data.store=false``: images are decoded again for every batch, and everything else stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlabeled.core.progress import set_quiet
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe

SETTINGS = (
    "data.size=8",
    "epochs=2",
    "batch_size=16",
    "backbone.args={layers: [1, 1, 1, 1], channels: [4, 4, 8, 8], stem_stride: 2}",
    "health.every=1",
    "output.logger=none",
    "hardware.precision=32-true",
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    dice = np.random.default_rng(0)
    for number in range(50):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        # many times as large as wanted: decoded at a fraction of their size
        image = Image.fromarray(dice.integers(0, 256, (10, 12, 3), dtype=np.uint8)).resize((120, 100))
        image.save(folder / f"{number:02}.jpg", quality=90)
    return tmp_path / "photos"


def test_decoding_anew_trains_to_the_same_bits(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_quiet(True)
    found = {}
    for store in ("true", "false"):
        monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / f"cache-{store}"))
        settings = (f"data=folder:{photos}", f"data.store={store}", *SETTINGS)
        run = pretrain("simclr", tmp_path / store, overrides=settings)
        accuracy = probe(run.folder, probes=["nmc"])["probes"]["nmc"]["top1"]
        found[store] = ((run.backbone / "model.safetensors").read_bytes(), accuracy)
        assert (tmp_path / f"cache-{store}" / "pixels").is_dir() == (store == "true")
    assert found["true"] == found["false"]
    set_quiet(False)


def test_what_could_not_be_read_is_listed_in_the_end(photos: Path, tmp_path: Path) -> None:
    (photos / "a" / "02.jpg").write_bytes(b"broken")
    settings = (f"data=folder:{photos}", "data.store=false", "data.max_bad_fraction=0.1", *SETTINGS)
    set_quiet(True)
    run = pretrain("simclr", tmp_path / "run", overrides=settings)
    set_quiet(False)
    assert [Path(path).name for path, _ in json.loads((run.folder / "data.json").read_text())["bad_files"]] == [
        "02.jpg"
    ]
