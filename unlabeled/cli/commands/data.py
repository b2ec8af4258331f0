"""``unlabeled data``."""

from __future__ import annotations

import typer

from unlabeled.cli.options import app


@app.command("data")
def data_command() -> None:
    """List the data sets that can be opened. Says which are on this machine."""
    from unlabeled.data import list_data

    for entry in list_data():
        yours = ":" in entry.name or "/" in entry.name
        missing = "yours to name" if yours else "not here; downloaded when asked for"
        found = f"found: {entry.found}" if entry.found else missing
        typer.echo(f"{entry.name:18} {entry.description}  [{found}]")
