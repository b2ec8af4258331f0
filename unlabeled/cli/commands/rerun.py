"""``unlabeled rerun``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("rerun")
def rerun_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a finished run folder; never changed")],
    out: Annotated[Path | None, typer.Option(help="the new run folder; default: beside the run")] = None,
    quiet: Quiet = False,
) -> None:
    """Repeat a run and compare the weights. Exit code 0 if they are identical, bit for bit, 1 if not."""
    from unlabeled.cli.present import show_rerun
    from unlabeled.verbs.rerun import rerun

    found = rerun(run, out)
    typer.echo(show_rerun(found))
    if not found.identical:
        raise typer.Exit(1)
