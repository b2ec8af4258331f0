"""``unlabeled sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import SETTINGS, Quiet, app
from unlabeled.cli.slurm import Cpus, DryRun, Gpus, More, Time, resources
from unlabeled.core.errors import Diverged, UserError


@app.command("sweep")
def sweep_command(
    recipe: Annotated[
        str, typer.Argument(help="a built-in name, a YAML file, or a run folder", autocompletion=completion.recipes)
    ],
    settings: Annotated[
        list[str], typer.Argument(metavar=SETTINGS, help="key=a,b,c or seed=0..2 to vary, key=value for all")
    ],
    out: Annotated[Path | None, typer.Option(help="the folder of the runs; default: runs/sweep-…")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="what the best is chosen by, on held-out training images: a probe, or rankme (no labels)",
            autocompletion=completion.one_of(completion.SWEPT_BY),
        ),
    ] = None,
    only: Annotated[int | None, typer.Option(help="carry out just this run of the grid, from 0")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="as an array of SLURM jobs, a run each")] = False,
    gpus: Gpus = 1,
    cpus: Cpus = 8,
    time: Time = "24:00:00",
    more: More = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train a grid of recipes and say which is best, on training images held out. Goes on where it stopped."""
    if slurm:
        from unlabeled.verbs.launch import launch_sweep

        typer.echo(
            launch_sweep(recipe, settings, out, by=by, ask=resources(1, gpus, 1, cpus, time, more), really=not dry_run)
        )
        return
    if dry_run:
        raise UserError("--dry-run writes the script of --slurm and submits nothing; add --slurm.")
    from unlabeled.cli.run_tables import show_sweep
    from unlabeled.verbs.sweep import sweep

    swept = sweep(recipe, settings, out, by=by, only=only)
    typer.echo(show_sweep(swept))
    if swept.diverged:
        raise Diverged(f"{len(swept.diverged)} of the runs diverged: {', '.join(swept.diverged)}.")
