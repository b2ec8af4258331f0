"""``unlabeled runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Quiet, app


@app.command("runs")
def runs_command(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="where runs lie, or runs; default: runs")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="started, run, method, data, epoch, megabytes, linear, knn, loss, …")
    ] = "started",
    compare: Annotated[bool, typer.Option("--compare", help="in what they differ, a column a run")] = False,
    clean: Annotated[
        str | None,
        typer.Option(
            help="unfinished (stopped runs) or checkpoints (of finished runs)",
            autocompletion=completion.one_of(completion.CLEANED),
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="really remove; without it --clean only says what would go")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """List, sort, compare and clean runs."""
    from unlabeled.cli.run_tables import show_cleaned, show_comparison, show_runs
    from unlabeled.verbs import runs

    found = runs.runs(folders or [Path("runs")], sort)
    if clean is not None:
        typer.echo(show_cleaned(runs.clean(found, clean, really=yes), really=yes))
    else:
        typer.echo(show_comparison(found) if compare else show_runs(found))
