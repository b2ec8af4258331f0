"""What the tests of recipes and verbs share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unlabeled.cli import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Call the real entry point in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["unlabeled", *arguments])
        with pytest.raises(SystemExit) as leave:
            main()
        out, err = capsys.readouterr()
        return int(leave.value.code or 0), out, err

    return run
