"""What can be run of Windows elsewhere: its paths, its narrow output, and a Python without what the system lacks."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.core.files import open_binary, read_at, write_at
from unlabeled.data.listing import held_by_name
from unlabeled.data.requests import meant
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.runs.ranks import run_ranks

ROOT = Path(__file__).parents[2]
ABSENT = """
import json, os, sys
for name in ("pread", "pwrite", "fork", "forkpty", "sched_getaffinity", "set_blocking", "killpg", "setsid"):
    if hasattr(os, name):
        delattr(os, name)
sys.modules["resource"] = None
from unlabeled.cli.app import app, settle_encoding
settle_encoding()
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
"""
TINY = (
    "data.size=16", "data.channels=1", "batch_size=8", "epochs=1", "health.every=0", "hardware.precision=32-true",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}",
)  # fmt: skip


@pytest.mark.slow
def test_a_life_on_a_drive_with_narrow_output_without_what_windows_lacks(tmp_path: Path) -> None:
    photos = tmp_path / "C:\\Bilder"  # to this system a name like any other; to us the same text as on Windows
    for name in ("Bär", "Kuh"):
        (photos / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{number}.png")
    (tmp_path / "C:\\bitte.txt").write_text("Bär/0.png\nBär/1.png\nKuh/2.png\n", encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "cp1252",
        "PYTHONPATH": str(ROOT),
        "UNLABELED_CACHE": str(tmp_path / "cache"),
    }
    commands = (
        ("pretrain", "simclr", "--data", "C:\\Bilder", *TINY, "--dry-run"),
        ("pretrain", "simclr", "data=folder:C:\\Bilder", *TINY, "--out", "C:\\lauf"),
        ("probe", "C:\\lauf", "pixels", "--probes", "nmc"),
        ("forget", "C:\\lauf", "--forget", "files:C:\\bitte.txt", "epochs=1", "vae_epochs=1", "--no-retrain",
         "--out", "C:\\neu"),
        ("report", "C:\\lauf", "C:\\neu", "--out", "C:\\seite.html"),
        ("runs", ".", "--compare"),
    )  # fmt: skip
    start = [sys.executable, "-c", ABSENT, json.dumps(commands)]
    done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode("cp1252")
    assert "Bär" in (tmp_path / "C:\\seite.html").read_text(encoding="utf-8")


def test_every_text_file_is_read_and_written_in_the_same_encoding() -> None:
    missing = []
    for path in sorted((ROOT / "unlabeled").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            mode = next(
                (str(a.value) for a in node.args if isinstance(a, ast.Constant) and node.func.attr == "open"), ""
            )
            text = node.func.attr in ("read_text", "write_text") or mode in ("r", "w", "a")
            if text and not any(keyword.arg == "encoding" for keyword in node.keywords):
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert missing == [], "Windows reads and writes in another encoding unless told"


def test_bytes_at_a_place_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    for name in ("pread", "pwrite"):
        monkeypatch.delattr(os, name)
    descriptor = open_binary(tmp_path / "x")
    try:
        assert write_at(descriptor, b"\r\n", 4) == 2
        assert read_at(descriptor, 4, 3) == b"3\r\n6"
        assert read_at(descriptor, 4, 8) == b"89"
    finally:
        os.close(descriptor)


def test_the_separator_of_a_system_changes_neither_the_split_nor_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"{name}/{number}.png" for name in ("a", "b") for number in range(50)]
    held = held_by_name(files, None)[1].tolist()
    request = tmp_path / "request.txt"
    request.write_text("a/3.png\nC:\\photos\\b\\7.png\n", encoding="utf-8")
    theirs = [file.replace("/", "\\") for file in files]
    with monkeypatch.context() as patch:
        patch.setattr(os, "sep", "\\")
        assert held_by_name(theirs, None)[1].tolist() == held
        assert list(meant("files:x", str(request), theirs).values()) == ["a\\3.png", "b\\7.png"]


def test_several_processes_are_refused_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("simclr", ["hardware.devices=2"])
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UserError, match="WSL 2"):
        run_ranks(recipe, Run(tmp_path / "run"), resume=False, overwrite=False)
