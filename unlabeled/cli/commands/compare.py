"""``unlabeled compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("compare")
def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="run folders, or folders of runs")],
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of this machine; 0: a free one")] = 0,
    quiet: Quiet = False,
) -> None:
    """Compare runs on a live page. Served to this machine alone; Ctrl-C ends it."""
    from unlabeled.verbs.compare import compare

    live = compare(runs, data_dir=data_dir, port=port)
    typer.echo(live.address)
    try:
        live.serve()
    except KeyboardInterrupt:  # how it is meant to end
        typer.echo("closed", err=True)
