"""``unlabeled report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("report")
def report_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="run folders, shown side by side")],
    out: Annotated[Path | None, typer.Option(help="the page; default: report.html in the first run's folder")] = None,
    title: Annotated[str | None, typer.Option(help="of the page")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    quiet: Quiet = False,
) -> None:
    """Write one page about one or several runs. Probes, curves, pictures; works without a network, prints well."""
    from unlabeled.verbs.report import report

    typer.echo(report(runs, out, title=title, data_dir=data_dir))
