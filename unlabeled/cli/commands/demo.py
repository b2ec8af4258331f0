"""``unlabeled demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="where everything is written")] = Path("runs/demo"),
    quiet: Quiet = False,
) -> None:
    """Show a whole life on real images. Pretrain, probe, forget, report: five minutes on a laptop."""
    from unlabeled.cli.present import show_demo
    from unlabeled.verbs.demo import demo

    typer.echo(show_demo(demo(out)))
