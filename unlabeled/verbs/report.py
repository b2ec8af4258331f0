"""Write one page about one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_text, expect_file
from unlabeled.core.progress import progress, say
from unlabeled.report import page
from unlabeled.report.compare.page import compared_parts
from unlabeled.report.gather import gather
from unlabeled.runs.folder import Run, told_apart


def report(
    runs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    title: str | None = None,
    data_dir: str | None = None,
    points: int = 1500,
    bank: int = 20_000,
) -> Path:
    """Write one page about one or several runs.

    Args:
        runs: run folders; unfinished ones show what there is.
        out: the page; default: ``report.html`` in the (first) run's folder.
        title: of the page.
        data_dir: where data sets lie, if not where the run found them.
        points: at most so many held-out images are drawn as points.
        bank: at most so many training images are searched for neighbours.

    Returns:
        The page's path.

    Raises:
        UserError: a folder holds no run, or the page cannot be written.
    """
    if not runs:
        raise UserError("name at least one run folder to report on, e.g. unlabeled report runs/demo.")
    folders = [Run(folder) for folder in runs]
    for run in folders:
        run.recipe()
    path = Path(out) if out is not None else folders[0].folder / run_files.REPORT
    expect_file(path, run_files.REPORT)
    contents, names = [], told_apart(folders)
    with progress("report", len(folders)) as tick:
        for run, name in zip(folders, names, strict=True):
            contents.append(gather(run, name, data_dir=data_dir, points=points, bank=bank))
            tick(1, name)
    atomic_write_text(path, page(contents, title, compared_parts(folders, names, data_dir)))
    say(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    return path
