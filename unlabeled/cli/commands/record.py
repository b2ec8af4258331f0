"""``unlabeled record``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app

record = typer.Typer(no_args_is_help=True, help="The record of deletion requests: check that nobody changed it.")
app.add_typer(record, name="record")


@record.command("verify")
def verify_command(
    run: Annotated[Path, typer.Argument(help="a run that was made to forget")], quiet: Quiet = False
) -> None:
    """Check every entry of the record, and that record.json and the weights are those it speaks of."""
    from unlabeled.cli.deletion import show_record
    from unlabeled.verbs.record import verify_record

    typer.echo(show_record(verify_record(run)))
