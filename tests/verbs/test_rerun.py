"""A run repeated from its folder: the same bits, or a plain no."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unlabeled.core.errors import UserError
from unlabeled.runs import folder as run_module
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.rerun import rerun

NET = "backbone.args={layers: [1, 1, 1, 1], channels: [4, 4, 8, 8], stem_stride: 2}"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A finished run with a classifier, whose folder is called like a built-in recipe."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=pixels, y=np.arange(64) % 2)
    settings = (f"data=npz:{tmp_path / 'data.npz'}", NET, "batch_size=32", "health.every=0", "output.logger=none")
    return pretrain("supervised", tmp_path / "supervised", overrides=(*settings, "epochs=1")).folder


def test_a_run_is_repeated_bit_for_bit(cli: Cli, made: Path) -> None:
    (made / "forgetting" / "demo").mkdir(parents=True)  # what the demo forgot beside it changed nothing of the run
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file() and path.name != ".lock"}
    code, out, err = cli("rerun", "supervised")
    assert code == 0, err
    assert "identical, bit for bit" in out
    assert out.count("backbone") == out.count("classifier") == 1
    assert (made.parent / "supervised-rerun" / "backbone").is_dir()
    assert {path: path.read_bytes() for path in before} == before
    assert cli("rerun", "supervised")[0] == 0  # the finished rerun is compared again
    # the run is called like a built-in recipe, and is not taken for it
    assert "already finished" in cli("pretrain", "supervised", "--resume")[2]


def test_another_result_is_said(cli: Cli, made: Path) -> None:
    weights = load_file(made / "backbone" / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = torch.nextafter(weights[name], torch.full_like(weights[name], torch.inf))
    save_file(weights, made / "backbone" / "model.safetensors", metadata={"format": "pt"})
    facts = json.loads((made / "environment.json").read_text())
    facts["versions"]["torch"] = "1.0.0"
    (made / "environment.json").write_text(json.dumps(facts))
    code, out, _ = cli("rerun", "supervised", "--out", "again")
    assert code == 1
    assert "NOT identical" in out
    assert "torch: 1.0.0 then" in out


def test_what_cannot_be_repeated_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is never changed"):
        rerun(made, made)
    with pytest.raises(UserError, match="is not a run folder"):
        rerun(tmp_path / "nowhere")
    np.savez(tmp_path / "data.npz", x=np.zeros((64, 8, 8), dtype=np.uint8), y=np.arange(64) % 2)
    with pytest.raises(UserError, match="are not those that"):
        rerun(made)
    facts = (made / "data.json").read_text()
    shutil.rmtree(made / "backbone")  # not finished: it can be resumed, but not on other images either
    with pytest.raises(UserError, match="learned from so far"):
        pretrain(made, resume=True)
    assert (made / "data.json").read_text() == facts
    (made / "forgetting").mkdir()
    (made / "forgetting" / "split.npz").touch()
    with pytest.raises(UserError, match="made by forgetting"):
        rerun(made)


def test_the_environment_is_written_down(made: Path) -> None:
    facts = json.loads((made / "environment.json").read_text())
    assert {"command", "started", "python", "platform", "processor", "cores", "threads", "accelerators"} <= set(facts)
    assert {"torch", "timm", "numpy", "lightning"} <= set(facts["versions"])
    assert facts["git"] is None or {"commit", "changed"} <= set(facts["git"])


def test_the_state_of_a_checkout_is_written_wherever_the_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(run_module, "CHECKOUT", tmp_path)
    assert run_module.environment("")["source"] is None
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "code.py").write_text("1")
    subprocess.run([*git, "add", "code.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    source = run_module.environment("")["source"]
    assert len(source["commit"]) == 40
    assert not source["changed"]
    (tmp_path / "code.py").write_text("2")
    assert run_module.environment("")["source"]["changed"]
