"""``unlabeled neighbours``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("neighbours")
def neighbours_command(
    model: Annotated[str, typer.Argument(help="a run folder, local-dir:PATH, timm:NAME or hf-hub:ID")],
    images: Annotated[str, typer.Argument(help="a folder of images, or any data set by name")],
    k: Annotated[int, typer.Option("-k", min=1, help="neighbours of each image")] = 5,
    of: Annotated[str | None, typer.Option(help="only those of the image with this path")] = None,
    duplicates: Annotated[float, typer.Option(help="list pairs with at least this cosine")] = 0.99,
    out: Annotated[Path | None, typer.Option(help="write all neighbours into this CSV file")] = None,
    quiet: Quiet = False,
) -> None:
    """Find images that look alike to a model. Search, and near-duplicates in a folder."""
    from unlabeled.verbs.neighbours import neighbours, write_neighbours

    found = neighbours(model, images, k=k)
    if out is not None:
        write_neighbours(found, out)
    if of is not None:
        typer.echo("\n".join(f"{cosine:.4f}  {path}" for path, cosine in found.of(of)))
        return
    pairs = found.duplicates(duplicates)
    typer.echo(f"{len(found.paths)} images, {len(pairs)} pairs with a cosine of {duplicates:g} or more")
    for first, second, cosine in pairs:
        typer.echo(f"{cosine:.4f}  {first}  {second}")
