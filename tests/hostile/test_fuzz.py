"""Mutated recipes are accepted or refused in a line; the long version is ``benchmarks/fuzz.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from mutations import fuzz


def test_mutated_recipe_files_and_overrides() -> None:
    verdicts = fuzz(200)
    assert verdicts["refused"] > 50
    assert verdicts["accepted"] > 5
