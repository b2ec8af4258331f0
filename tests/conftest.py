"""What all tests share: a cache of their own, quiet progress, no surprises from the machine's load."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from unlabeled.cli.app import main
from unlabeled.core import progress

Cli = Callable[..., tuple[int, str, str]]
Script = Callable[[Path], ModuleType]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded pixels and features of tests never touch the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("UNLABELED_CACHE")
    os.environ["UNLABELED_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["UNLABELED_CACHE"]
    else:
        os.environ["UNLABELED_CACHE"] = before


@pytest.fixture(autouse=True)
def as_talkative_as_before() -> Iterator[None]:
    """A command line that was told to be quiet silences its own test alone, not the rest of this process."""
    before = progress.quiet()
    yield
    progress.set_quiet(before)


@pytest.fixture(scope="session")
def script() -> Script:
    """Import a file that belongs to no package: a benchmark, a tool of the documentation, a part of a test."""

    def load(file: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def unlabeled(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command line in a process of its own, in an empty folder."""

    def run(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "unlabeled", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


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
