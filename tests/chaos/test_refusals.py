"""Full disks, folders that cannot be written or are gone, a clock that runs backwards: said in a line, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Scenario, Whole, Zygote, broken, results, undisturbed


@pytest.fixture(scope="module")
def whole(known: dict[str, Scenario], zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The undisturbed run."""
    return undisturbed(zygote, known["pretrain rotation"], tmp_path_factory.mktemp("whole") / "home")


def refused(code: int, output: str, says: str) -> None:
    """Exit code 2, and one line that begins with the program's name."""
    assert code == 2, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("unlabeled: ")]
    assert says in line


@pytest.fixture
def half(known: dict[str, Scenario], zygote: Zygote, whole: Whole, tmp_path: Path) -> Path:
    """A home with a run that was killed after its first checkpoints."""
    code, output = zygote.run(known["pretrain rotation"].argv, tmp_path, die_at=whole.operations - 30)
    assert code < 0, output
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    return tmp_path


def test_a_full_disk_keeps_the_last_checkpoint(
    known: dict[str, Scenario], zygote: Zygote, whole: Whole, half: Path
) -> None:
    resume, checkpoint = known["pretrain rotation"].resume, half / "run" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    for limit in (len(before) // 2, 2000):  # in the middle of the next checkpoint, and of smaller files
        refused(*zygote.run(resume, half, file_limit=limit), "raise the limit and resume")
        assert checkpoint.read_bytes() == before
        assert not list(broken(half))
    assert zygote.run(resume, half)[0] == 0
    assert results(half / "run") == whole.results
    assert not list(half.rglob("*.part"))


def mounted(folder: Path, options: str) -> None:
    """Mount a file system in memory, where this user may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a quarter of a megabyte."""
    mounted(tmp_path / "disk", "size=256k")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def test_a_disk_that_fills_up_is_said_and_resumed(
    known: dict[str, Scenario], zygote: Zygote, whole: Whole, tiny_disk: Path, tmp_path: Path
) -> None:
    home, run = tmp_path / "home", tiny_disk / "run"
    home.mkdir()
    run.mkdir()
    (home / "run").symlink_to(run)
    (tiny_disk / "movie").write_bytes(b"0" * 200_000)
    argv, resume = known["pretrain rotation"].argv, known["pretrain rotation"].resume
    refused(*zygote.run(argv, home), "the disk is full; free some space and resume")
    assert not list(broken(tiny_disk))
    (tiny_disk / "movie").unlink()
    assert zygote.run(resume, home)[0] == 0
    assert results(run) == whole.results


@pytest.fixture
def shut(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that may not be written, and why; root may write anywhere but on what is mounted read-only."""
    folder = tmp_path / "shut"
    if os.geteuid():
        folder.mkdir(mode=0o555)
        yield folder, "permission denied"
        folder.chmod(0o755)
    else:
        mounted(folder, "ro")
        yield folder, "the file system is read-only"
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_that_may_not_be_written(
    known: dict[str, Scenario], zygote: Zygote, shut: tuple[Path, str], tmp_path: Path
) -> None:
    argv, (folder, why) = known["pretrain rotation"].argv, shut
    refused(*zygote.run([*argv[:-1], str(folder / "run")], tmp_path), why)
    cache = {"UNLABELED_CACHE": str(folder / "cache")}
    refused(*zygote.run([*argv, "data.size=8"], tmp_path, env=cache), why)
    assert not (tmp_path / "run" / "recipe.yaml").exists()
    refused(*zygote.run([*known["probe"].argv[:-1], str(folder / "out.json")], tmp_path), why)


def test_a_folder_removed_under_the_run(known: dict[str, Scenario], zygote: Zygote, tmp_path: Path) -> None:
    argv = [part for part in known["pretrain rotation"].argv if not part.startswith("epochs")]
    process = zygote.start([*argv, "epochs=500"], tmp_path)
    checkpoint, deadline = tmp_path / "run" / "checkpoints" / "last.ckpt", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "run").rename(tmp_path / "moved")
    refused(process.wait(), process.output(), "was it removed while the program ran?")
    assert not (tmp_path / "run").exists()
    assert not list(broken(tmp_path / "moved"))


def test_a_clock_that_runs_backwards(known: dict[str, Scenario], zygote: Zygote, whole: Whole, half: Path) -> None:
    for path in half.rglob("*"):
        if path.is_file() and "pixels" not in path.parts:  # a run from the future, as after the clock was set back
            os.utime(path, (4e9, 4e9))
    code, output = zygote.run(known["pretrain rotation"].resume, half, clock=True)
    assert code == 0, output
    assert results(half / "run") == whole.results
