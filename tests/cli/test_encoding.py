"""Results are written whatever the output's encoding, and names are printed as they are."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unlabeled.cli.encoding import NAME, plain
from unlabeled.cli.present import table, with_interval

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"86.5 +/- 1.5 x 3 - Muller -> \\U0001f600"),
        ("latin-1", "86.5 ± 1.5 × 3 - Müller -> ".encode("latin-1") + b"\\U0001f600"),
        ("utf-8", "86.5 ± 1.5 × 3 – Müller → 😀".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_with_what_it_has(encoding: str, written: bytes) -> None:
    codecs.register_error(NAME, plain)
    assert "86.5 ± 1.5 × 3 – Müller → 😀".encode(encoding, NAME) == written


def test_the_command_line_writes_into_a_narrow_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unlabeled", "recipes"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2×224" in done.stdout.decode("cp1252")


def test_brackets_and_colons_in_names_are_no_markup() -> None:
    text = table(["model", "linear"], [["run[lr=0.1]", "1"], ["x[/y]", "2"], ["a :smile: b", "3"]], "of [b]data[/b]")
    for name in ("run[lr=0.1]", "x[/y]", "a :smile: b", "of [b]data[/b]"):
        assert name in text


def test_an_interval_far_from_the_middle_shows_both_ends() -> None:
    assert with_interval(1.0, 0.839, 1.0) == "100.0 [83.9, 100.0]"
    assert with_interval(0.5, 0.45, 0.56) == "50.0 ± 5.5"
