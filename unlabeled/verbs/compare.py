"""Compare runs on a live page: all methods in one table, any two of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled.core.errors import UserError
from unlabeled.core.words import command
from unlabeled.report.live import Live
from unlabeled.runs.folder import Run, told_apart
from unlabeled.verbs.runs import find_runs


def compare(runs: Sequence[str | Path], *, data_dir: str | None = None, port: int = 0) -> Live:
    """Prepare a live page about runs; ``compare(["runs/a", "runs/b"]).serve()`` answers until it is interrupted.

    Args:
        runs: run folders, and folders in which every finished run is taken.
        data_dir: where data sets lie, if not where the runs found them.
        port: of this machine; 0: a free one.

    Raises:
        UserError: there are fewer than two finished runs, the extra ``compare`` is not installed, or the port is taken.
    """
    found: list[Run] = []
    for given in map(Path, runs):
        run = Run(given)
        if run.exists() and not run.finished():
            raise UserError(f"the run {given} has not finished; go on with: {command('pretrain', given, '--resume')}")
        found += [run] if run.exists() else [each for path in find_runs(given) if (each := Run(path)).finished()]
    found = list({run.folder.resolve(): run for run in found}.values())
    if len(found) < 2:
        raise UserError(
            f"comparing needs at least two finished runs, and {', '.join(map(str, runs)) or 'nothing'} holds "
            f"{len(found)}; name two, or a folder of runs."
        )
    return Live(found, told_apart(found), data_dir, port)
