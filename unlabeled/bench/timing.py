"""What every measurement shares: the machine in one line, contenders that take turns, ratios, a profile."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


def machine() -> str:
    """One line about the hardware and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (x.split(":")[1].strip() for x in info.read_text(encoding="utf-8").splitlines() if "model name" in x), cpu
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores, {cpu}, {device}, Python {platform.python_version()}, torch {torch.__version__}"


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes, the GPU's share included."""
    settle()
    start = time.perf_counter()
    work()
    settle()
    return time.perf_counter() - start


def settle() -> None:
    """Wait until the GPU, if there is one, has done everything it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclass
class Turns:
    """Seconds of contenders that take turns (A B C, A B C, …): whatever else the machine does falls on all of them."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    def take(self, contenders: Mapping[str, Callable[[], float]], rounds: int) -> Turns:
        """Let every contender have ``rounds`` turns; each returns its own seconds."""
        for _ in range(rounds):
            for name, turn in contenders.items():
                self.taken.setdefault(name, []).append(turn())
        return self

    def median(self, name: str) -> float:
        """Median seconds of a contender."""
        return statistics.median(self.taken[name])

    def ratios(self, name: str, over: str) -> list[float]:
        """Seconds of one contender over those of another in the same round."""
        return [a / b for a, b in zip(self.taken[name], self.taken[over], strict=True)]

    def ratio(self, name: str, over: str) -> float:
        """Median of the paired ratios."""
        return statistics.median(self.ratios(name, over))


def span(ratios: list[float]) -> str:
    """The range of paired ratios."""
    return f"{min(ratios):.2f} – {max(ratios):.2f}"


def verdict(ratio: float, target: float, at_most: bool = False) -> str:
    """``met`` or ``not met``."""
    return "met" if (ratio <= target if at_most else ratio >= target) else "not met"


def profile(work: Callable[[], object], rows: int = 15) -> str:
    """Run ``work`` under torch's profiler; return the operations that took most time by themselves."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    key = "self_cpu_time_total"
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        key = "self_cuda_time_total"
    with torch.profiler.profile(activities=activities) as recorded:
        work()
        settle()
    averages: Any = recorded.key_averages()
    table: str = averages.table(sort_by=key, row_limit=rows, max_name_column_width=40)
    return table
