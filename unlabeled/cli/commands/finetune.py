"""``unlabeled finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Overrides, Quiet, app, result


@app.command("finetune")
def finetune_command(
    model: Annotated[str, typer.Argument(help="a run folder or local-dir:PATH")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    labels: Annotated[str | None, typer.Option(help="how many labels may be used: 10% or 5-per-class")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder; default: runs/…")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a pretrained backbone further, with labels. Leaves a run with a classifier."""
    from unlabeled.cli.present import show_finetuned
    from unlabeled.verbs.finetune import finetune

    settings = tuple(overrides or ())
    done = finetune(model, data, labels=labels, overrides=settings, out=out, resume=resume, overwrite=overwrite)
    result(show_finetuned(*done))
