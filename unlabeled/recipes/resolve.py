"""Check a raw recipe against the schema; write a checked one down."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from unlabeled.core.errors import UserError
from unlabeled.recipes.load import apply_overrides, explain, read_recipe
from unlabeled.recipes.schema import SCHEMA, Recipe
from unlabeled.ssl.methods import METHODS


def load_recipe(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by built-in name, YAML path or run folder, with ``"key=value"`` overrides.

    Raises:
        UserError: the source is unknown or unreadable, a key is unknown, a value is of the wrong type.

    >>> load_recipe("simclr", ["epochs=2", "method.temperature=0.2"]).method.temperature
    0.2
    """
    content, where = read_recipe(source)
    given = list(overrides)
    keys = {override.partition("=")[0] for override in given}
    if "backbone.weights" in keys:
        content = {key: value for key, value in content.items() if key != "backbone"}  # the weights say what it is
    return check_recipe(apply_overrides(content, given), where)


def check_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Check a raw mapping; ``where`` is named in errors."""
    version = content.get("schema_version", SCHEMA)
    if version != SCHEMA:
        raise UserError(
            f"{where}: schema_version {version!r} is not the one this version reads ({SCHEMA}); "
            "run it with the version that wrote it, or start from a recipe of `unlabeled recipes`."
        )
    if "method" not in content:
        raise UserError(f"{where}: the key 'method' is missing; give one of {', '.join(METHODS)}.")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        method = content["method"]
        name = method.get("name") if isinstance(method, dict) else method
        known = METHODS.get(name) if isinstance(name, str) else None
        raise explain(error, Recipe, where, known.Config if known else None) from error
    except RecursionError as error:
        raise UserError(f"{where}: the recipe is nested too deeply.") from error


def recipe_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
