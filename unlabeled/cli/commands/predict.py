"""``unlabeled predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("predict")
def predict_command(
    model: Annotated[str, typer.Argument(help="a run of finetune, local-dir:PATH, timm:NAME or hf-hub:ID")],
    images: Annotated[list[str], typer.Argument(metavar="FOLDER|FILES", help="folders or files of images")],
    threshold: Annotated[float, typer.Option(help="below this probability an image gets no class")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="a .csv or .json file; default: CSV to the terminal")] = None,
    quiet: Quiet = False,
) -> None:
    """Classify images with a fine-tuned run. Class and probability of each, or an abstention."""
    from unlabeled.cli.present import show_predictions
    from unlabeled.verbs.predict import as_csv, expect_predictions, predict, write_predictions

    if out is not None:
        expect_predictions(out)
    found = predict(model, images, threshold=threshold)
    if out is None:
        typer.echo(as_csv(found), nl=False)
        return
    write_predictions(found, out)
    typer.echo(show_predictions(found, out))
