"""``unlabeled evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app, result


@app.command("evaluate")
def evaluate_command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="runs, timm:NAME, hf-hub:ID, local-dir:PATH, random:NAME, pixels"),
    ],
    suite: Annotated[str, typer.Option(help="small, standard, or a YAML file of tasks")] = "small",
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures here")] = None,
    page_file: Annotated[Path | None, typer.Option("--page", help="write an HTML page here")] = None,
    seed: int = 0,
    quiet: Quiet = False,
) -> None:
    """Say what backbones are worth: many tasks, one table, paired differences. Features are made once and kept."""
    from unlabeled.cli.present import show_evaluation
    from unlabeled.verbs.evaluate import evaluate

    table = evaluate(models, suite, data_dir=data_dir, json_file=json_file, page_file=page_file, seed=seed)
    result(show_evaluation(table.asdict()))
