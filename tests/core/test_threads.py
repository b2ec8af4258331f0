"""Threads: physical cores within affinity and quota; waiting threads sleep; what the user set stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unlabeled.core import threads


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four physical cores of two hardware threads each, all allowed, no quota."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


def test_hardware_threads_are_no_cores(machine: Path) -> None:
    assert threads.cores() == 4


def test_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    assert threads.cores() == 2


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("250000 100000", 3), ("50000 100000", 1), ("", 4)])
def test_quota(machine: Path, quota: str, cores: int) -> None:
    (machine / "cpu.max").write_text(quota + "\n")
    assert threads.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("200000", 2)])
def test_quota_of_the_first_version(machine: Path, quota: str, cores: int) -> None:
    (machine / "cpu").mkdir()
    (machine / "cpu/cpu.cfs_quota_us").write_text(quota)
    (machine / "cpu/cpu.cfs_period_us").write_text("100000")
    assert threads.cores() == cores


def test_what_the_user_set_stays(machine: Path) -> None:
    environment: dict[str, str] = {}
    threads.settle_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "4", "UNLABELED_THREADS": "4"}
    environment = {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2"}
    threads.settle_threads(environment)
    assert environment == {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2"}


def test_processes_share_the_cores_unless_the_user_said_how_many(machine: Path) -> None:
    for processes, each in ((1, "4"), (2, "2"), (3, "1"), (9, "1")):
        settled: dict[str, str] = {}
        threads.settle_threads(settled)
        for environment in (settled, {}):  # from the command line and from Python
            threads.share_threads(environment, processes)
            assert environment["OMP_NUM_THREADS"] == each
    chosen = {"OMP_NUM_THREADS": "3"}
    threads.settle_threads(chosen)
    threads.share_threads(chosen, 2)
    assert chosen["OMP_NUM_THREADS"] == "3"


def test_the_command_line_settles_them_before_torch() -> None:
    code = "import sys, unlabeled.cli.app, os; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "PASSIVE"
