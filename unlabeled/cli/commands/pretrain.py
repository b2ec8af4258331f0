"""``unlabeled pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Overrides, Quiet, app, result
from unlabeled.core import run_files
from unlabeled.core.errors import UserError


@app.command("pretrain")
def pretrain_command(
    recipe: Annotated[
        str, typer.Argument(help="a built-in name, a YAML file, or a run folder", autocompletion=completion.recipes)
    ],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="which images; the same as data=…")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder; default: runs/…")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check, build, make a few steps, train nothing")] = False,
    more: Annotated[int | None, typer.Option(min=1, help="train a finished RUN so many epochs longer")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a backbone from images without labels."""
    from unlabeled.cli.present import show_dry_run, show_run
    from unlabeled.recipes.load import builtin_recipes
    from unlabeled.recipes.resolve import load_recipe
    from unlabeled.runs.folder import Run
    from unlabeled.verbs.pretrain import default_folder, pretrain
    from unlabeled.verbs.pretrain import dry_run as try_out

    if data is not None and any(word.partition("=")[0] in ("data", "data.name") for word in overrides or ()):
        raise UserError(f"--data {data} and data=… both say which images; leave one of them out.")
    if more is not None:
        from unlabeled.verbs.more import train_more

        if not Run(recipe).exists():
            raise UserError(f"--more goes on with a finished run; '{recipe}' is none.")
        result(show_run(train_more(recipe, more, out, [*(overrides or ()), *([f"data={data}"] if data else ())])))
        return
    # a name that is both a built-in recipe's and a run's means the run only where one is to go on
    is_run = Run(recipe).exists() and (resume or recipe not in builtin_recipes())
    chosen = {} if data is None else {"data": data}
    resolved = load_recipe(Path(recipe) / run_files.RECIPE if is_run else recipe, overrides or (), chosen)
    if dry_run:
        typer.echo(show_dry_run(try_out(resolved)))
        return
    if out is None:
        out = Path(recipe) if is_run else default_folder(resolved)
    result(show_run(pretrain(resolved, out, resume=resume, overwrite=overwrite)))
