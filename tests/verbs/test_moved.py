"""A run whose images moved goes on; a run that is to be replaced stays whole where the new one cannot start."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.engine.loop import Hardware
from unlabeled.runs.folder import Run

Cli = Callable[..., tuple[int, str, str]]
TINY = (
    "data.size=8", "batch_size=16", "health.every=0", "hardware.precision=32-true",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 20 images each, as files."""
    random = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_stopped_run_goes_on_where_its_images_lie_now(cli: Cli, photos: Path, tmp_path: Path) -> None:
    start = ("pretrain", "simclr", f"data=folder:{photos}", "epochs=6", "output.save_seconds=0", *TINY)
    assert cli(*start, "--out", "whole")[0] == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"

    def stop() -> None:
        while not checkpoint.exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    assert cli(*start, "--out", "run")[0] == 1
    shutil.copytree(photos, tmp_path / "others")
    shutil.move(photos, tmp_path / "new place")
    code, _, err = cli("pretrain", "run", "--resume")
    assert code == 2
    assert "lie elsewhere now: unlabeled pretrain run data=NEWPLACE --resume" in err

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(next((tmp_path / "others" / "a").glob("*.png")))
    before = contents(tmp_path / "run")
    code, _, err = cli("pretrain", "run", "data=folder:others", "--resume")
    assert code == 2
    assert "are not those that run learned from" in err
    code, _, err = cli("pretrain", "run", f"data=folder:{tmp_path / 'new place'}", "epochs=7", "--resume")
    assert code == 2
    assert "another recipe" in err
    assert contents(tmp_path / "run") == before

    code, _, err = cli("pretrain", "run", f"data=folder:{tmp_path / 'new place'}", "--resume")
    assert code == 0, err
    assert "and are the same" in err
    one, two = (
        torch.tensor(list((tmp_path / r / "backbone/model.safetensors").read_bytes())) for r in ("whole", "run")
    )
    assert torch.equal(one, two), "as if nothing had happened"
    assert Run(tmp_path / "run").recipe().data.name == f"folder:{tmp_path / 'new place'}"
    assert cli("probe", "run", "--probes", "nmc", "-q")[0] == 0, "later verbs find the images"


def test_a_finished_run_follows_its_images_too(cli: Cli, photos: Path, tmp_path: Path) -> None:
    assert cli("pretrain", "simclr", f"data=folder:{photos}", "epochs=1", *TINY, "--out", "run", "-q")[0] == 0
    photos.rename(tmp_path / "there")
    assert cli("probe", "run", "--probes", "nmc", "-q")[0] == 2
    code, _, err = cli("pretrain", "run", "data=folder:there", "--resume")
    assert code == 0, err
    assert "already finished" in err
    assert cli("probe", "run", "--probes", "nmc", "-q")[0] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_stays_whole_where_the_new_one_cannot_start(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ("pretrain", "simclr", f"data=folder:{photos}", "epochs=1", *TINY, "--out", "run")
    assert cli(*start, "-q")[0] == 0
    before = contents(tmp_path / "run")
    monkeypatch.setenv("CXX", "no-such-compiler")
    for setting, said in {
        "hardware.accelerator=gpu": "hardware.accelerator=gpu: there is none",
        "hardware.accelerator=mps": "hardware.accelerator=mps: there is none",
        "hardware.compile=true": r"hardware.compile needs a C++ compiler",
    }.items():
        for epochs in ("epochs=1", "epochs=0"):
            code, _, err = cli(*start, epochs, setting, "seed=5", "--overwrite")
            assert code == 2
            assert said in err
            assert contents(tmp_path / "run") == before


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="this host has 1 GPUs, and process 2 has none"):
        Hardware("gpu").require()
