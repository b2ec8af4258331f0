"""A run whose images lie elsewhere now goes on with them, if they are the very same."""

from __future__ import annotations

from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_text
from unlabeled.core.progress import say
from unlabeled.core.words import command
from unlabeled.recipes.resolve import recipe_yaml
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.folder import Run, same_recipe
from unlabeled.runs.prepared import Prepared, prepare


def only_moved(old: Recipe, new: Recipe) -> bool:
    """Whether ``new`` is ``old`` but for the place where its images lie."""
    place = {"name": new.data.name, "dir": new.data.dir}
    there = old.model_copy(update={"data": old.data.model_copy(update=place)})
    return same_recipe(old, new) is not None and same_recipe(there, new) is None


def follow(run: Run, recipe: Recipe, fingerprint: str) -> None:
    """Go with images that lie elsewhere now, if they are the very same.

    Raises:
        UserError: they are others, or nobody can tell.
    """
    known, moved = run.read_json(run_files.DATA).get("fingerprint"), only_moved(run.recipe(), recipe)
    if moved and not (recipe.data.store and known):
        raise UserError(
            f"{run.folder} does not say by which images it can be told that those of '{recipe.data.name}' are its own "
            "(data.store=false); put them back where they were."
        )
    if recipe.data.store and known not in (None, fingerprint):
        raise UserError(
            f"the images of '{recipe.data.name}' are not those that {run.folder} learned from so far; put the old ones "
            "back, or start again with --overwrite."
        )
    if moved:
        say(f"the images of {run.folder} lie in '{recipe.data.name}' now, and are the same")
        atomic_write_text(run.folder / run_files.RECIPE, recipe_yaml(recipe))


def prepare_run(run: Run, recipe: Recipe, resume: bool) -> Prepared:
    """As :func:`prepare`; a run whose images are gone says how it goes on with them elsewhere."""
    try:
        return prepare(recipe)
    except UserError as error:
        place = Path(recipe.data.name.partition(":")[2] or recipe.data.name).expanduser()
        if not resume or place.exists():
            raise
        elsewhere = command("pretrain", run.folder, "data=NEWPLACE", "--resume")
        raise UserError(f"{error} If the images of the run lie elsewhere now: {elsewhere}") from error
