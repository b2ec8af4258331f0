"""Check a raw recipe against the schema; write a checked one down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from unlabeled.core.errors import UserError
from unlabeled.recipes.load import apply_overrides, apply_settings, called, explain, paths, read_recipe
from unlabeled.recipes.schema import SCHEMA, Recipe
from unlabeled.ssl.methods import METHODS


def load_recipe(source: str | Path, overrides: Iterable[str] = (), settings: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe by built-in name, YAML path or run folder, with settings of it changed.

    Args:
        source: the name, file or folder.
        overrides: ``"key=value"``, as on the command line.
        settings: values by key, dotted or nested; they come before ``overrides``.

    Raises:
        UserError: the source is unknown or unreadable, a key is unknown, a value is of the wrong type.

    >>> load_recipe("simclr", ["epochs=2", "method.temperature=0.2"]).method.temperature
    0.2
    >>> load_recipe("simclr", settings={"optimizer": {"lr": 0.1}, "data.size": 32}).optimizer.lr
    0.1
    """
    content, where = read_recipe(source)
    given, named = list(overrides), _flat(settings or {})
    keys = {override.partition("=")[0] for override in given} | set(named)
    if "backbone.weights" in keys:
        content = {key: value for key, value in content.items() if key != "backbone"}  # the weights say what it is
    return check_recipe(apply_overrides(apply_settings(content, named), given, _TEXTS), where)


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{above}.{key}" if above else key
        found |= _flat(value, path) if isinstance(value, Mapping) and value else {path: _plain(value)}
    return found


def _plain(value: Any) -> Any:
    """Paths, tuples and numpy's numbers as YAML has them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def setting(name: str) -> str | None:
    """The dotted path of the setting that somebody calls ``name``: its path, its bare name, or other projects' word.

    >>> setting("epochs"), setting("data.size"), setting("learning_rate"), setting("temperature"), setting("colour")
    ('epochs', 'data.size', 'optimizer.lr', 'method.temperature', None)
    """
    known = [path for method in METHODS.values() for path in paths(Recipe, method.Config)]
    spelt = (path for path in known if name in (path, path.replace(".", "_"), path.rpartition(".")[2]))
    return next(spelt, None) or called(name, Recipe)


def _texts(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """The dotted paths of all settings that can only be text."""
    for name, field in model.model_fields.items():
        path = f"{above}.{name}" if above else name
        if field.annotation in (str, str | None, Optional[str]):  # noqa: UP045  (pydantic resolves to either)
            yield path
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _texts(field.annotation, path)


_TEXTS = frozenset({"data", "backbone", *_texts(Recipe)})


def check_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Check a raw mapping; ``where`` is named in errors."""
    version = content.get("schema_version", SCHEMA)
    if version != SCHEMA:
        raise UserError(
            f"{where}: schema_version {version!r} is not the one this version reads ({SCHEMA}); "
            "run it with the version that wrote it, or start from a recipe of `unlabeled recipes`."
        )
    content = _without_gone(content)
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


GONE = (("hardware", "strategy"),)
"""Settings that older versions wrote into every run, and that never did anything."""


def _without_gone(content: dict[str, Any]) -> dict[str, Any]:
    """The recipe without settings that older runs hold and this version has no more."""
    for section, name in GONE:
        inner = content.get(section)
        if isinstance(inner, dict) and name in inner:
            content = {**content, section: {key: value for key, value in inner.items() if key != name}}
    return content


def recipe_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
