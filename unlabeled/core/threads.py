"""How many CPU threads to use and how they wait; settled before torch is imported, which reads it once."""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_OURS = "UNLABELED_THREADS"
"""Remembers, in the environment, a number of threads that was not the user's choice."""


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what the user has not: OpenMP's threads to :func:`cores`, and waiting threads to sleep.

    OpenMP's threads spin by default while they wait for each other. With the cores to themselves that gains next to
    nothing; when another process (or a worker of ours) wants one of two cores, it makes small convolutions six times as
    slow (benchmarks/RESULTS.md, Threads).
    """
    if not any(name in environment for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    if "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = environment[_OURS] = str(cores())


def share_threads(environment: MutableMapping[str, str], processes: int) -> None:
    """Divide the cores among ``processes`` that are about to start with ``environment``, unless the user has."""
    if environment.get("OMP_NUM_THREADS") == environment.get(_OURS):
        environment["OMP_NUM_THREADS"] = str(max(cores() // processes, 1))


def cores() -> int:
    """Physical cores that this process may use: of its affinity, and not more than its control group is granted."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    count = len({_siblings(cpu) for cpu in allowed})
    granted = _granted()
    return max(1, count if granted is None else min(count, math.ceil(granted)))


def _siblings(cpu: int) -> str:
    """Names the physical core of a logical one."""
    text = _read(_CPUS / f"cpu{cpu}/topology/thread_siblings_list")
    return text or str(cpu)


def _granted() -> float | None:
    """CPUs that the control group may keep busy, ``None`` without a limit (version 2, then version 1)."""
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if not period:
        quota = _read(_CGROUP / "cpu/cpu.cfs_quota_us")
        period = _read(_CGROUP / "cpu/cpu.cfs_period_us")
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
