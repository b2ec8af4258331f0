from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlabeled.cli.run_tables import show_cleaned, show_comparison, show_runs
from unlabeled.core.errors import UserError
from unlabeled.recipes.resolve import load_recipe
from unlabeled.report.gather import made_by
from unlabeled.runs.folder import Run
from unlabeled.verbs.runs import clean, runs


def make_run(folder: Path, *, finished: bool = True, linear: float | None = None, epochs: int = 3) -> Run:
    run = Run(folder)
    run.begin(load_recipe("simclr", [f"epochs={epochs}"]), "unlabeled pretrain simclr")
    (folder / "metrics.csv").write_text("step,epoch,loss\n1,0.5,5.0\n2,1.0,4.5\n3,1.")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"0" * 1000)
    if finished:
        (folder / "backbone").mkdir()
        (folder / "backbone" / "config.json").write_text("{}")
    if linear is not None:
        found = {"linear": {"top1": linear, "interval": [linear, linear]}}
        (folder / "probes").mkdir()
        content = {"model": "run", "data": "fashion-mini", "probes": found}
        (folder / "probes" / "fashion-mini.json").write_text(json.dumps(content))
    return run


@pytest.fixture
def some(tmp_path: Path) -> Path:
    make_run(tmp_path / "good", linear=0.8)
    make_run(tmp_path / "deep" / "better", linear=0.9, epochs=5)
    make_run(tmp_path / "stopped", finished=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.yaml").write_text("method: [")
    (tmp_path / "no-run").mkdir()
    return tmp_path


def test_runs_are_found_at_any_depth_with_their_state(some: Path) -> None:
    states = {row.run: row.state for row in runs(some, "run")}
    assert states == {"broken": "unreadable", "deep/better": "finished", "good": "finished", "stopped": "stopped"}


def test_they_sort_by_figures_and_those_without_come_last(some: Path) -> None:
    assert [row.run for row in runs(some, "linear")][:2] == ["deep/better", "good"]
    assert [row.run for row in runs(some, "loss")][-1] == "broken"
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        runs(some, "lineer")


def test_the_list_shows_main_figures(some: Path) -> None:
    lines = show_runs(runs(some, "linear")).splitlines()
    assert "linear" in lines[0]
    assert "90.0" in lines[1]
    assert "1/5" in lines[1]
    assert "4.5" in lines[1]
    assert "no runs" in show_runs(runs(some / "no-run"))


def test_comparing_names_the_settings_that_differ(some: Path) -> None:
    text = show_comparison(runs(some, "run"))
    assert "epochs" in text
    assert "batch_size" not in text
    with pytest.raises(UserError, match="at least two"):
        show_comparison(runs(some / "good"))


def test_two_runs_are_compared_by_name(some: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(some)
    text = show_comparison(runs(["good", "deep/better"], "run"))
    assert next(filter(str.strip, text.splitlines())).split() == ["deep/better", "good"]
    assert [row.run for row in runs(["good", "."], "run")] == ["broken", "deep/better", "good", "stopped"]


def test_a_run_that_forgot_is_listed_as_one(some: Path) -> None:
    run = make_run(some / "later")
    (run.folder / "metrics.csv").unlink()
    run.left_out.parent.mkdir()
    (run.folder / "forgetting" / "split.npz").write_bytes(b"")
    record = {"method": {"name": "laf"}, "request": {"description": "12 named images"}}
    (run.folder / "record.json").write_text(json.dumps(record))
    (row,) = (row for row in runs(some) if row.run == "later")
    assert (row.state, row.method) == ("finished", "simclr, then laf")
    (line,) = (line for line in show_runs(runs(some)).splitlines() if line.startswith("later"))
    assert "  –  " in line
    assert "12 named images" in show_comparison(runs([some / "good", some / "later"]))
    record["method"]["name"] = "retrain"
    (run.folder / "record.json").write_text(json.dumps(record))
    assert made_by(run, run.recipe()) == "simclr, anew without what was to be forgotten"


def test_cleaning_asks_first_and_keeps_what_is_in_use(some: Path) -> None:
    rows = runs(some)
    assert clean(rows, "unfinished") == [some / "stopped"]
    assert (some / "stopped").is_dir()
    with Run(some / "stopped").lock():
        assert {row.run: row.state for row in runs(some)}["stopped"] == "running"
        assert clean(runs(some), "unfinished", really=True) == []
    gone = clean(rows, "unfinished", really=True)
    assert not (some / "stopped").exists()
    assert str(some / "stopped") in show_cleaned(gone, really=True)
    assert len(clean(rows, "checkpoints", really=True)) == 2
    assert not (some / "good" / "checkpoints").exists()
    assert (some / "good" / "backbone").is_dir()
    with pytest.raises(UserError, match="unfinished"):
        clean(rows, "unfinishd")


def test_cleaning_removes_nothing_that_no_run_wrote(tmp_path: Path) -> None:
    make_run(tmp_path / "stopped", finished=False)
    (tmp_path / "stopped" / "thesis.txt").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("method: simclr\nbatch_size: 8\nepochs: 1\n")
    assert [row.state for row in runs(tmp_path)] == ["stopped", "stopped"]
    assert clean(runs(tmp_path), "unfinished", really=True) == [tmp_path / "stopped"]
    assert sorted(p.name for p in (tmp_path / "stopped").iterdir() if p.name != ".lock") == ["thesis.txt"]
    assert (tmp_path / "mine" / "recipe.yaml").is_file()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        runs(tmp_path / "absent")
