"""``unlabeled doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from unlabeled.cli.options import app


@app.command("doctor")
def doctor_command(
    data_dir: Annotated[str | None, typer.Option(help="a folder of data sets to look into")] = None,
) -> None:
    """Check installation, accelerator, disk and data. Says how to mend what is wrong; exit code 1 if anything is."""
    from unlabeled.verbs.doctor import doctor

    lines, healthy = doctor(data_dir)
    typer.echo("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)
