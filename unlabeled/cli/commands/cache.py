"""``unlabeled cache``."""

from __future__ import annotations

from typing import Annotated

import typer

from unlabeled.cli.options import app, parts


@app.command("cache")
def cache_command(
    clear: Annotated[
        str | None, typer.Option("--clear", help="what to remove: pixels,features,decisions,prepared,data or 'all'")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0, help="only what was not changed for so many days")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="remove it; without this, only say what would go")] = False,
) -> None:
    """List what the cache holds, how large and how old it is, and remove it.

    Decoded images and features are made again when they are needed; 'all' leaves only downloads alone.
    """
    from unlabeled.core.files import cache_dir
    from unlabeled.data.cache import KINDS, clear_cache, list_cache

    if clear is None:
        kept = list_cache()
        for item in kept:
            typer.echo(
                f"{item.kind:10} {_size(item.bytes)} {item.age:5.0f} d  {item.path.name:34} {item.what}".rstrip()
            )
        typer.echo(f"{_size(sum(item.bytes for item in kept)).strip()} in {cache_dir()}")
        return
    kinds = tuple(kind for kind in KINDS if kind != "data") if clear == "all" else parts(clear)
    gone = clear_cache(kinds, unused_days=days, dry_run=not yes)
    said = "removed" if yes else "would be removed (add --yes)"
    typer.echo(f"{len(gone)} of {', '.join(kinds)} {said}: {_size(sum(item.bytes for item in gone)).strip()}")


def _size(count: int) -> str:
    return f"{count / 1e9:7.2f} GB" if count >= 1e8 else f"{count / 1e6:7.2f} MB"
