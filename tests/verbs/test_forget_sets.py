"""Forget sets that need more than the labels: who was memorised, and what a table says of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir
from unlabeled.data.tables import paths_where
from unlabeled.runs.deletion import request_of
from unlabeled.runs.folder import Run
from unlabeled.verbs.forget import forget, load_classifier, preprocess_of
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.shadows import ShadowRuns

SMALL = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"


def run_of(folder: Path, data: str, recipe: str, *more: str) -> Path:
    pretrain(recipe, folder, overrides=(f"data={data}", "batch_size=16", "health.every=0", SMALL, *more))
    return folder


def test_who_was_memorised_is_learned_from_shadow_models_that_are_kept(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "d.npz", x_train=pixels[:40], y_train=np.arange(40) % 2, x_test=pixels[40:], y_test=[0, 1] * 10)
    source = run_of(tmp_path / "run", f"npz:{tmp_path / 'd.npz'}", "supervised", "epochs=2", "optimizer.lr=0.05")
    done = forget(
        source, "memorised:25%", method="finetune", settings=["epochs=1"], retrain=False, shadows=4, out=tmp_path / "o"
    )
    assert "10 of 40 images" in done.description
    assert all("lira_auc" in row.measures for row in done.rows if row.method != "head_only")
    made = sorted((cache_dir() / "forgetting").glob("*-shadow-*/model.safetensors"))
    assert len(made) == 4
    times = [path.stat().st_mtime_ns for path in made]
    original = load_classifier(source)
    shadows = ShadowRuns(Run(source), original, preprocess_of(original), 4)
    request = request_of(Run(source), "memorised:25%", None, None, 0, shadows.memorisation)
    assert [path.stat().st_mtime_ns for path in made] == times, "read, not trained again"
    scores = shadows.memorisation(request.train, request.trained)
    assert set(request.rows) == set(np.argsort(-scores, kind="stable")[:10])
    with pytest.raises(UserError, match="even number"):
        forget(source, "random:10%", retrain=False, shadows=5, out=tmp_path / "odd")


def test_a_column_of_a_table_names_a_person(tmp_path: Path) -> None:
    lines = ["path,person,split"]
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{17 if number % 10 == 3 else number % 5},{'test' if number >= 30 else 'train'}")
    table = tmp_path / "people.csv"
    table.write_text("\n".join(lines) + "\n")
    source = Run(run_of(tmp_path / "run", f"csv:{table}", "random", "epochs=0"))
    request = request_of(source, "column:Person= 17", None, None, 0)
    assert request.rows.tolist() == [3, 13, 23]
    assert [Path(path).name for path, _, _ in request.beside] == ["33.png"], "held out, but purged with the others"
    assert request.split.passed == ("1 held out and never trained on",)
    assert len(paths_where(table, "split", "test")) == 10
    for what, message in (
        ("column:age=3", "no column 'age' .it has: path, person, split"),
        ("column:person=71", "no row of .* has '71'.*Did you mean '17'"),
        ("column:person", "column:NAME=VALUE"),
    ):
        with pytest.raises(UserError, match=message):
            request_of(source, what, None, None, 0)
