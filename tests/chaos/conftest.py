"""The zygote, once for all tests of this folder: everything is imported a single time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from harness import Scenario, Zygote, scenarios


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts real ``unlabeled`` processes in milliseconds."""
    started = Zygote()
    yield started
    started.close()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a trained run."""
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(scope="session")
def known(stage: Path, zygote: Zygote) -> dict[str, Scenario]:
    """What can be killed, by name."""
    return scenarios(stage, zygote)
