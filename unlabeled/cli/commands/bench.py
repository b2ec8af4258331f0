"""``unlabeled bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import app
from unlabeled.core.progress import set_quiet


@app.command("bench")
def bench_command(
    what: Annotated[
        str,
        typer.Argument(help=", ".join(completion.BENCHES), autocompletion=completion.one_of(completion.BENCHES)),
    ] = "step",
    rounds: Annotated[int, typer.Option(min=1, help="turns of every contender; figures are medians")] = 7,
    profile: Annotated[bool, typer.Option("--profile", help="where the time goes instead (step)")] = False,
) -> None:
    """Measure the speed of this machine. Ratios to the bare model, or another floor, in the same run."""
    from unlabeled.bench import bench

    set_quiet(True)
    for line in bench(what, rounds, profile):
        typer.echo(line)
