"""One progress bar for every long job: on stderr, silent under ``--quiet``, a line now and then without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from unlabeled.core.launch import leads
from unlabeled.core.words import duration

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence every bar and every :func:`say` of this process."""
    global _quiet
    _quiet = quiet


def quiet() -> bool:
    """Whether this process is silenced: by ``--quiet``, or because another rank speaks for all."""
    return _quiet or not leads()


def say(message: str) -> None:
    """Print a line about the work (not a result) to stderr."""
    if not quiet():
        print(message, file=sys.stderr, flush=True)


class Tick(Protocol):
    def __call__(self, steps: int = 1, info: str = "") -> None: ...


def unseen(steps: int = 1, info: str = "") -> None:
    """The tick of a bar that nobody sees."""


@contextmanager
def progress(description: str, total: int, done: int = 0, unit: str = "") -> Iterator[Tick]:
    """Show a bar over ``total`` steps; call the yielded function as they are done.

    Args:
        description: what is being done, e.g. ``"features"``.
        total: how many steps there are in all.
        done: how many were done before (a resumed job).
        unit: what a step is, shown with the throughput (``"img"``).
    """
    if quiet():
        yield unseen
    elif sys.stderr.isatty():
        with _bar(description, total, done, unit) as tick:
            yield tick
    else:
        yield _lines(description, total, done, unit)


@contextmanager
def _bar(description: str, total: int, done: int, unit: str) -> Iterator[Tick]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TextColumn("{task.fields[left]}"),
        rich_progress.TextColumn("{task.fields[info]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(description, total=total, completed=done, info="", rate="", left="")
        pace, count = Pace(time.monotonic(), done), done

        def tick(steps: int = 1, info: str = "") -> None:
            nonlocal count
            count += steps
            rate = pace(time.monotonic(), count)
            left = f"{duration((total - count) / rate)} left"
            bar.update(task, advance=steps, info=info, rate=_speed(rate, unit), left=left)

        yield tick


class Pace:
    """Steps a second over the later half of what was done: first steps that are slow (a compiler, cold caches) say
    nothing of those to come, and pauses between epochs do.

    Args:
        start: when the work began, in seconds.
        done: how many steps were done before.
    """

    MOST = 512
    """Moments that are remembered."""

    def __init__(self, start: float, done: int) -> None:
        self.first, self.seen = done, [(start, done)]

    def __call__(self, now: float, count: int) -> float:
        """Steps a second, after ``count`` steps at the time ``now``."""
        middle = (self.first + count) / 2
        while len(self.seen) > 1 and self.seen[1][1] <= middle:
            del self.seen[0]
        then, before = self.seen[0]
        self.seen.append((now, count))
        if len(self.seen) > self.MOST:
            del self.seen[1:-1:2]
        return max(count - before, 1e-9) / max(now - then, 1e-9)


def _speed(rate: float, unit: str) -> str:
    """Throughput with two digits at least: a slow step is not none."""
    return f"{rate:,.{0 if rate >= 10 else 1 if rate >= 1 else 2}f} {unit}/s" if unit else ""


def _lines(description: str, total: int, done: int, unit: str, every: float = 10.0) -> Tick:
    last, count = time.monotonic(), done
    pace = Pace(last, done)

    def tick(steps: int = 1, info: str = "") -> None:
        nonlocal last, count
        count += steps
        now = time.monotonic()
        rate = pace(now, count)
        if now - last < every and count < total:
            return
        last = now
        speed = f"{_speed(rate, unit)}  " if unit else ""
        say(f"{description}  {count}/{total}  {speed}{duration((total - count) / rate)} left  {info}".rstrip())

    return tick
