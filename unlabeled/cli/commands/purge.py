"""``unlabeled purge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("purge")
def purge_command(
    run: Annotated[Path, typer.Argument(help="the result of unlabeled forget")],
    further: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="folders to look in, besides those where its runs lie")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="remove nothing, only say what would go")] = False,
    quiet: Quiet = False,
) -> None:
    """Remove what still holds images that a run was made to forget: the original, its kin, pixels, features, pages."""
    from unlabeled.cli.deletion import show_purged
    from unlabeled.verbs.purge import purge

    typer.echo(show_purged(purge(run, further or (), dry_run=dry_run), dry_run=dry_run))
