"""A sweep leaves ordinary runs, repeats none of them, and compares them without a look at test images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from unlabeled.cli.run_tables import show_sweep
from unlabeled.core.errors import UserError
from unlabeled.data.rows import held_out
from unlabeled.probes import FeatureBank
from unlabeled.probes.suite import run_probes
from unlabeled.recipes.grid import grid
from unlabeled.runs.banks import bank_of
from unlabeled.runs.folder import Run
from unlabeled.runs.models import open_model
from unlabeled.verbs import sweep as verb
from unlabeled.verbs.probe import open_splits
from unlabeled.verbs.sweep import Row, Swept, sweep, time_left

Cli = Callable[..., tuple[int, str, str]]
TINY = (
    "epochs=1",
    "batch_size=40",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}",
    "health.every=0",
    "hardware.precision=32-true",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 10)):
        for name, bright in {"dark": 110, "light": 140}.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(bright, 60, (12, 12)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return str(folder)


@pytest.mark.slow
def test_a_grid_is_trained_compared_and_extended(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    fixed = [f"data=folder:{data}", *TINY]
    swept = sweep("simclr", [*fixed, "optimizer.lr=0.05,0.2", "seed=0..1"], tmp_path / "s", by="nmc")
    assert [row.setting for row in swept.rows] == [("optimizer.lr=0.05",), ("optimizer.lr=0.2",)]
    # the figure is that of the same rows of the training images, by hand
    run = Run(tmp_path / "s" / "optimizer.lr=0.2_seed=1")
    train, _ = open_splits(str(run.folder))
    assert len(train) == 120
    codes = np.unique(train.labels, return_inverse=True)[1]
    kept, held = held_out(codes, 0.2, "sweep")
    assert len(held) == 24
    X = np.asarray(bank_of(open_model(str(run.folder), train, layer=None, pool=None, seed=0), train).features)
    banks = [FeatureBank.from_arrays(X[rows], codes[rows]) for rows in (kept, held)]
    assert swept.rows[1].by_seed[1] == run_probes(*banks, probes=("nmc",))["nmc"].accuracy.top1
    written = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert written == swept.asdict()
    # once more: nothing is trained; with another value: that one alone
    trained = []
    honest = verb.pretrain
    monkeypatch.setattr(verb, "pretrain", lambda *args, **more: trained.append(args[1]) or honest(*args, **more))
    grown = sweep("simclr", [*fixed, "optimizer.lr=0.2,1e30", "seed=0..1"], tmp_path / "s", by="nmc")
    assert [path.name for path in trained] == ["optimizer.lr=1e30_seed=0", "optimizer.lr=1e30_seed=1"]
    assert grown.rows[0] == swept.rows[1]
    # a useless learning rate stops nothing, is said, and is not the best
    assert grown.diverged == ["optimizer.lr=1e30 seed=0", "optimizer.lr=1e30 seed=1"]
    assert grown.best == grown.rows[0]
    assert "2 diverged" in show_sweep(grown)
    # other fixed settings are another sweep
    other = [setting.replace("epochs=1", "epochs=2") for setting in fixed]
    with pytest.raises(UserError, match="was started with another recipe"):
        sweep("simclr", [*other, "optimizer.lr=0.2,0.3"], tmp_path / "s", by="nmc")
    # a task of an array makes its own run, and the table says what is to come
    arguments = ["simclr", *fixed, "seed=0..2", "--out", "array", "--by", "rankme", "--only", "1", "-q"]
    code, out, err = cli("sweep", *arguments)
    assert code == 0, err
    assert "2 to come" in out
    assert [path.parent.name for path in (tmp_path / "array").glob("*/backbone")] == ["seed=1"]


def row(setting: str, values: dict[int, float], diverged: tuple[int, ...] = (), missing: tuple[int, ...] = ()) -> Row:
    return Row((setting,), setting, values, diverged, missing)


def test_intervals_are_students_and_the_best_has_all_its_seeds() -> None:
    figures = {0: 0.70, 1: 0.74, 2: 0.75}
    rows = (row("a=1", figures), row("a=2", {0: 0.9}, diverged=(1, 2)), row("a=3", {0: 0.6, 1: 0.6, 2: 0.6}))
    swept = Swept(Path("s"), "linear", rows, {r.setting: (Path("s") / r.setting[0],) for r in rows})
    expected = stats.t.interval(0.95, 2, loc=np.mean([*figures.values()]), scale=stats.sem([*figures.values()]))
    np.testing.assert_allclose(rows[0].interval, expected)
    assert rows[2].interval is None
    assert swept.best == rows[0]
    text = show_sweep(swept)
    assert "73.0 ± 6.6" in text
    assert "unlabeled probe s/a=1" in text
    assert "best" not in show_sweep(Swept(Path("s"), "linear", rows[1:2], swept.runs)).replace("best is", "")


def test_the_time_left_is_that_of_like_runs() -> None:
    points = grid("simclr", ["epochs=10,40", "seed=0..1"])
    assert time_left(points, []) is None
    assert time_left(points[1:], [(points[0], 20.0)]) == pytest.approx(80 + 20 + 80)
    assert time_left(points[2:], [(points[0], 20.0), (points[1], 100.0)]) == pytest.approx(20 + 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sweep", "simclr", "epochs=2"), "nothing varies"),
        (("sweep", "simclr", "seed=0..1", "--by", "lineer"), "Did you mean 'linear'"),
        (("sweep", "simclr", "seed=0..1", "--only", "2"), "the grid has 2 runs, 0 to 1"),
        (("sweep", "supervised", "seed=0..1", "--by", "linear"), "'supervised' learns from the labels"),
        (("sweep", "simclr", "seed=0..1", "--out", "run"), "run is a run"),
        (("sweep", "simclr", "batch_size=255,256", "hardware.devices=2"), "cannot be shared out equally"),
        (("sweep", "simclr", "seed=0..1", "--dry-run"), "add --slurm"),
        (("sweep", "simclr", "seed=0..1", "--slurm", "--time", "soon"), "no time that SLURM knows"),
        (("launch", "simclr"), "unlabeled launch --slurm simclr"),
        (("launch", "simclr", "--slurm", "batch_size=10", "--gpus", "4"), "cannot be shared out equally over 4"),
        (("launch", "simclr", "--slurm", "hardware.devices=2"), "leave hardware.devices at 1"),
        (("launch", "simclr", "--slurm", "--processes", "2"), "hosts without GPUs"),
        (("launch", "simclr", "--slurm", "--sbatch", "partition long"), "no option of sbatch"),
        (("launch", "simclr", "--slurm", "--out", "run"), "was started with another recipe"),
        (("launch", "simclr", "--slurm", "--out", "full"), "'thesis.txt'"),
    ],
)
def test_mistakes_cost_a_line_and_no_training(
    arguments: tuple[str, ...], message: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("method: rotation\nepochs: 1\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not list(tmp_path.glob("runs/*"))
