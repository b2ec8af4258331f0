"""``unlabeled recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Overrides, app

recipes_app = typer.Typer(help="List the built-in recipes, or show one.", invoke_without_command=True)
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def _recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from unlabeled.recipes.load import builtin_recipes, summary

        known = builtin_recipes()
        width = max(map(len, known))
        for name, path in known.items():
            typer.echo(f"{name:{width}}  {summary(path)}")


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(autocompletion=completion.recipes)], overrides: Overrides = None
) -> None:
    """Print a recipe with every default filled in."""
    from unlabeled.recipes.resolve import load_recipe, recipe_yaml

    typer.echo(recipe_yaml(load_recipe(name, overrides or ())), nl=False)
