"""Lists and comparisons of runs as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from unlabeled.cli.present import table, with_interval
from unlabeled.core.words import command
from unlabeled.probes.catalog import SUITE, column
from unlabeled.verbs.held_out import RANKME
from unlabeled.verbs.runs import READINGS, RunRow, differing
from unlabeled.verbs.sweep import TABLE, Row, Swept


def show_runs(rows: Sequence[RunRow]) -> str:
    """The list as a table: state and main figures (probes in percent)."""
    if not rows:
        return "no runs here; start one: unlabeled pretrain simclr"
    figures = _figures(rows)
    lines = [["run", "state", "method", "data", "epochs", "started", "MB", *(_title(name) for name in figures)]]
    for row in rows:
        epochs = (
            f"{round(row.epoch, 1):g}/{row.epochs}" if math.isfinite(row.epoch) and row.state != "unreadable" else "–"
        )
        about = [row.run, row.state, row.method, row.data, epochs, row.started[:10], f"{row.megabytes:.0f}"]
        lines.append([*about, *(_figure(name, row.figures.get(name)) for name in figures)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # wider than the terminal is better than cut off
    return "\n".join(
        "  ".join(
            c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _figures(rows: Sequence[RunRow]) -> list[str]:
    """The names of all figures, probes in their usual order first."""
    order = [*SUITE, *READINGS]
    names = dict.fromkeys(name for row in rows for name in row.figures)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(SUITE) - 0.5)


def _title(name: str) -> str:
    return "kNN train" if name == "knn_train_split" else column(name)


def _figure(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.4g}" if name in ("loss", "rankme") else f"{100 * value:.1f}"


def show_comparison(rows: Sequence[RunRow]) -> str:
    """The settings in which runs differ and their main figures, a column a run."""
    rows = [row for row in rows if row.state != "unreadable"]
    lines = [[key, *values] for key, values in differing(rows).items()]
    lines += [[_title(name), *(_figure(name, row.figures.get(name)) for row in rows)] for name in _figures(rows)]
    return table(["", *(row.run for row in rows)], lines)


def show_cleaned(gone: Sequence[Path], *, really: bool) -> str:
    """What :func:`clean` did or would do."""
    if not gone:
        return "nothing to remove"
    head = "removed:" if really else "would be removed (say --yes to do it):"
    return "\n".join([head, *(f"  {path}" for path in gone)])


def show_sweep(swept: Swept) -> str:
    """A row a setting, the best first, and how the best is measured on test images."""
    share = swept.by != RANKME
    title = (
        f"{column(swept.by)} on a held-out fifth of the training images, %" if share else "RankMe of training images"
    )
    rows = sorted(swept.rows, key=lambda row: -(row.mean or 0.0))
    lines = [[row.title, _mean(row, share), str(len(row.by_seed)), _without(row)] for row in rows]
    said = [table(["setting", "mean ± 95 % of seeds", "seeds", ""], lines, title)]
    if swept.best is not None:
        said += ["", f"best: {swept.best.title}"]
        if len(swept.rows) > 1:
            said.append("  chosen for being the highest, it looks better here than it is; on test images:")
        said.append(f"  {command('probe', *swept.runs[swept.best.setting])}")
    return "\n".join([*said, f"table: {swept.folder / TABLE}"])


def _mean(row: Row, share: bool) -> str:
    if row.mean is None:
        return "–"
    if share:
        return with_interval(row.mean, *row.interval) if row.interval else f"{100 * row.mean:.1f}"
    return f"{row.mean:.1f}" + (f" ± {(row.interval[1] - row.interval[0]) / 2:.1f}" if row.interval else "")


def _without(row: Row) -> str:
    parts = ((f"{len(row.diverged)} diverged", row.diverged), (f"{len(row.missing)} to come", row.missing))
    return ", ".join(text for text, seeds in parts if seeds)
