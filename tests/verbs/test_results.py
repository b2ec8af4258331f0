"""What Python gives back shows itself: short in a terminal, as a table in a notebook, safe whatever names hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unlabeled
from unlabeled.core.errors import UserError
from unlabeled.probes import KNNProbe, NearestMeanProbe
from unlabeled.probes.arrays import InputError
from unlabeled.verbs.finetune import Finetuned
from unlabeled.verbs.predict import Predictions
from unlabeled.verbs.probe import Measured

TINY = (
    "data.size=8", "epochs=1", "batch_size=16", "health.every=0", "hardware.precision=32-true",
    "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the files in ``photos`` beside it."""
    home = tmp_path_factory.mktemp("results")
    random = np.random.default_rng(0)
    for number in range(40):
        folder = home / "photos" / ("fox", "wolf")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return unlabeled.pretrain("simclr", home / "run", overrides=(f"data=folder:{home / 'photos'}", *TINY)).folder


def test_a_list_of_models_is_a_table(run: Path) -> None:
    found = unlabeled.probe([run, "pixels"], probes=["nmc", "lda"])
    assert [report["model"] for report in found] == [str(run), "pixels"]
    alone = unlabeled.probe(run, probes=["nmc", "lda"])
    assert {n: p["top1"] for n, p in found[0]["probes"].items()} == {n: p["top1"] for n, p in alone["probes"].items()}
    assert isinstance(alone, dict)
    assert json.loads(json.dumps(alone)) == json.loads(json.dumps(found[0])) | {"probes": alone["probes"]}
    figures = f"nmc {100 * alone['probes']['nmc']['top1']:.1f} %, lda {100 * alone['probes']['lda']['top1']:.1f} %"
    assert repr(alone) == f"Measured({str(run)!r} on {alone['data']!r}: {figures})"
    table = found._repr_html_()
    assert table.count("<tr>") == 3
    assert "nearest mean" in table
    with pytest.raises(UserError, match="there is no model 'nowhere'"):
        unlabeled.probe([run, "nowhere"])
    with pytest.raises(UserError, match="name at least one model"):
        unlabeled.probe([])


def test_images_are_forgotten_by_their_paths(run: Path, tmp_path: Path) -> None:
    paths = list(unlabeled.open_data(f"folder:{run.parent / 'photos'}", size=8).paths or ())[:3]
    settings = ("epochs=1", "vae_epochs=1", "vae_batch_size=8")
    done = unlabeled.forget(run, paths=paths, settings=settings, retrain=False, out=tmp_path / "gone")
    assert (tmp_path / "gone.txt").read_text().splitlines() == paths
    assert re.search(r"3 of \d+ images", done.description)
    assert repr(done) == f"Forgotten({str(tmp_path / 'gone')!r}: {done.description})"
    assert done.verdict[0].split()[0] in done._repr_html_()
    assert repr(done.run) == f"Run({str(tmp_path / 'gone')!r}, finished)"
    with pytest.raises(UserError, match="holds another request"):
        unlabeled.forget(run, paths=paths[:1], out=tmp_path / "gone")
    for wrong in ({}, {"what": "class:0", "paths": paths}):
        with pytest.raises(UserError, match="say what to forget"):
            unlabeled.forget(run, **wrong)
    with pytest.raises(UserError, match="at least one"):
        unlabeled.forget(run, paths=[])


def test_names_are_escaped(run: Path) -> None:
    bad = "<script>"
    probes = {"nmc": {"top1": 0.5, "interval": [0.4, 0.6]}}
    result = {"top1": 0.5, "interval": [0.4, 0.6], "n": 9, "data": bad, "labelled": 3}
    tuned = Finetuned(unlabeled.pretrain(run, resume=True), result)
    predicted = Predictions((bad,), (bad, "b"), np.array([0]), np.array([0.9], np.float32))
    for shown in (Measured(model=bad, data=bad, probes=probes), tuned, predicted):
        assert bad not in shown._repr_html_()
        assert "&lt;script&gt;" in shown._repr_html_()
    assert repr(tuned).endswith("50.0 % [40.0, 60.0] of 9 held-out images)")
    assert repr(predicted) == "Predictions(1 images: 1 <script>)"


@pytest.mark.parametrize("probe", [KNNProbe(k=1), NearestMeanProbe()])
def test_labels_are_named_as_they_were_written(probe: KNNProbe | NearestMeanProbe) -> None:
    probe.fit(np.eye(4, dtype=np.float32), ["wolf", "wolf", "fox", "fox"])
    with pytest.raises(InputError, match="class 'wolf'"):
        probe.forget(np.ones((3, 4), np.float32), ["wolf"] * 3)
