"""``unlabeled launch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Overrides, Quiet, app
from unlabeled.cli.slurm import Cpus, DryRun, Gpus, More, Nodes, Processes, Time, resources
from unlabeled.core.errors import UserError


@app.command("launch")
def launch_command(
    recipe: Annotated[
        str, typer.Argument(help="a built-in name, a YAML file, or a run folder", autocompletion=completion.recipes)
    ],
    overrides: Overrides = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="where to: SLURM, so far the only place")] = False,
    out: Annotated[Path | None, typer.Option(help="the run folder; default: runs/…")] = None,
    nodes: Nodes = 1,
    gpus: Gpus = 1,
    processes: Processes = 1,
    cpus: Cpus = 8,
    time: Time = "24:00:00",
    more: More = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain as a job of a cluster: write its script and submit it. It saves in time and goes on by itself."""
    from unlabeled.verbs.launch import launch

    if not slurm:
        raise UserError(f"say where to: unlabeled launch --slurm {recipe} …")
    ask = resources(nodes, gpus, processes, cpus, time, more)
    typer.echo(launch(recipe, overrides or (), out, ask=ask, really=not dry_run))
