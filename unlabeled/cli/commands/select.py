"""``unlabeled select``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app


@app.command("select")
def select_command(
    model: Annotated[str, typer.Argument(help="a run folder, local-dir:PATH, timm:NAME or hf-hub:ID")],
    pool: Annotated[str, typer.Argument(help="a folder of images, or any data set by name")],
    like: Annotated[str | None, typer.Option(help="your own images: choose what is near to them")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="near: with --like; clusters: the least typical; random: to compare with"),
    ] = None,
    keep: Annotated[str | None, typer.Option(help="how many: 1000 or 10%; near stops by itself without it")] = None,
    keep_twins: Annotated[bool, typer.Option("--keep-twins", help="keep near-duplicates, too")] = False,
    out: Annotated[Path, typer.Option(help="the list, for data=csv:FILE")] = Path("selected.csv"),
    page: Annotated[Path | None, typer.Option(help="write an HTML page of what was kept and left here")] = None,
    seed: Annotated[int, typer.Option(help="of a random choice, and of the clusters")] = 0,
    quiet: Quiet = False,
) -> None:
    """Choose the images of a large pool that are worth learning from. Near to your own, and none twice."""
    from unlabeled.core.files import atomic_write_text, expect_file
    from unlabeled.report.selection import selection_page
    from unlabeled.verbs.select import expect_list, select, write_list

    expect_list(out)
    if page is not None:
        expect_file(page, "selected.html")
    found = select(model, pool, like=like, by=by, keep=keep, keep_twins=keep_twins, seed=seed)
    write_list(found, out)
    if page is not None:
        atomic_write_text(page, selection_page(found.pool, found.kept, found.left, found.twins, found.score, found.by))
    typer.echo(
        f"kept {len(found.kept):,} of {len(found.pool):,} images by {found.by}, left {len(found.left):,}, and "
        f"{len(found.twins):,} near-duplicates of others; learn from them with: data=csv:{out}"
    )
