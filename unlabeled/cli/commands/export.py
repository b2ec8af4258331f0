"""``unlabeled export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Quiet, app


@app.command("export")
def export_command(
    model: Annotated[str, typer.Argument(help="a run folder, or a backbone folder")],
    to: Annotated[
        str,
        typer.Option(help=", ".join(completion.FORMATS), autocompletion=completion.one_of(completion.FORMATS)),
    ] = "timm",
    out: Annotated[Path | None, typer.Option(help="the file or folder; default: export/ in the run's folder")] = None,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="with the classifier of a fine-tuned run: logits, not embeddings")
    ] = False,
    layer: Annotated[str | None, typer.Option(help="an inner stage of the backbone (torchscript, onnx)")] = None,
    pool: Annotated[str | None, typer.Option(help="avg, max, flat, cls, mean (torchscript, onnx)")] = None,
    licence: Annotated[str, typer.Option(help="of the weights, for the model card, e.g. apache-2.0")] = "unknown",
    repo: Annotated[str | None, typer.Option(help="OWNER/NAME on the Hugging Face Hub")] = None,
    push: Annotated[bool, typer.Option("--push", help="upload to --repo; nothing touches the network before")] = False,
    private: Annotated[bool, typer.Option(help="whether a new repository is private")] = True,
    quiet: Quiet = False,
) -> None:
    """Write a trained backbone for other tools. What computes is checked against torch."""
    from unlabeled.verbs.export import export

    path = export(
        model,
        to,
        out,
        classifier=classifier,
        layer=layer,
        pool=pool,
        repo=repo,
        push=push,
        private=private,
        licence=licence,
    )
    typer.echo(path)
