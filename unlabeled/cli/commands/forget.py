"""``unlabeled forget``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import SETTINGS, Quiet, app, parts
from unlabeled.core.errors import UserError
from unlabeled.forgetting.methods import METHODS


@app.command("forget")
def forget_command(
    model: Annotated[str, typer.Argument(help="a run folder, or a backbone folder; never changed")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar=SETTINGS, help="settings of --method, e.g. epochs=20")
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            "--forget",
            help="class:0, class:3,5, random:10%, random:40%@5-9, noisy:60%@0-4, memorised:10%, indices:FILE, "
            "files:FILE, column:person=17 (of a table)",
        ),
    ] = "",
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="laf, lfssd, bad_teacher (no labels); scrub, duck, …; nmc, lda, ridge (exact); retrain",
            autocompletion=completion.one_of(tuple(METHODS)),
        ),
    ] = "laf",
    compare: Annotated[
        str,
        typer.Option(
            help="further methods for the table, comma-separated",
            autocompletion=completion.some_of(tuple(METHODS)),
        ),
    ] = "",
    keep: Annotated[str, typer.Option(help="rows whose networks are left as runs, too, e.g. retrain")] = "",
    with_copies: Annotated[
        bool, typer.Option("--with-copies", help="forget copies and near-copies of the images, too; they are listed")
    ] = False,
    retrain: Annotated[bool, typer.Option(help="also train again without the forget set, to compare with")] = True,
    shadows: Annotated[
        int, typer.Option(help="also attack image by image (LiRA), with so many models trained on halves of the data")
    ] = 0,
    purge: Annotated[
        bool, typer.Option("--purge", help="then remove what still holds the images (see unlabeled purge)")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds to measure")] = 1,
    seed: int = 0,
    tune: Annotated[
        int, typer.Option(min=1, help="tries of each method over its main settings, judged without labels")
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="the new run folder; default: beside the model's")] = None,
    quiet: Quiet = False,
) -> None:
    """Make a trained model forget images. Reads no labels by default, and shows whether the representation forgot."""
    from unlabeled.cli.present import show_forgotten
    from unlabeled.verbs.forget import forget

    if not what:
        raise UserError("say what to forget, for instance --forget class:0 or --forget files:request.txt.")
    forgotten = forget(
        model,
        what,
        data=data,
        data_dir=data_dir,
        method=method,
        settings=settings or (),
        compare=[name for name in parts(compare) if name not in ("retrain", "head_only", "original")],
        keep=parts(keep),
        with_copies=with_copies,
        retrain=retrain,
        shadows=shadows,
        seeds=seeds,
        seed=seed,
        tune=tune,
        out=out,
    )
    typer.echo(show_forgotten(forgotten))
    if purge:
        from unlabeled.cli.deletion import show_purged
        from unlabeled.verbs.purge import purge as purge_run

        typer.echo(show_purged(purge_run(forgotten.run.folder), dry_run=False))
