"""Write docs/recipes.md from the schema that recipes are checked against: python docs/tools/recipe_reference.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from unlabeled.data.spec import ViewSpec
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.recipes.load import builtin_recipes, summary
from unlabeled.recipes.schema import (
    BackboneConfig,
    DataConfig,
    FeaturesConfig,
    HardwareConfig,
    HealthConfig,
    OutputConfig,
    Recipe,
)
from unlabeled.ssl.methods import METHODS

PAGE = Path(__file__).parents[1] / "recipes.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataConfig,
    "backbone": BackboneConfig,
    "views": ViewSpec,
    "optimizer": OptimizerConfig,
    "features": FeaturesConfig,
    "health": HealthConfig,
    "hardware": HardwareConfig,
    "output": OutputConfig,
}
HEAD = """# Recipes

A recipe is a YAML file; `unlabeled recipes` lists those that come with the package, `unlabeled recipes show NAME`
prints one with every default filled in. On the command line any field is changed by its path: `optimizer.lr=0.1`,
`views.0.blur=0.5`, `data=cifar10` (short for `data.name=cifar10`). A wrong key is answered with the nearest right one.

This page is made from the schema that recipes are checked against (`docs/tools/recipe_reference.py`).
"""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "multipleOf": "multiple of"}


def kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A field's type and bounds in a few words."""
    if "anyOf" in schema:
        return " or ".join(kind(part, definitions) for part in schema["anyOf"])
    if "$ref" in schema:
        return "section"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    name = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    name |= {"null": "null", "array": "list", "object": "mapping"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema and abs(schema[key]) < 1e12]
    return " ".join([name.get(schema.get("type", ""), "any"), ", ".join(bounds)]).strip()


def rows(model: type[BaseModel], skip: tuple[str, ...] = ()) -> list[str]:
    """A table of a section's fields."""
    schema = model.model_json_schema()
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        if name in skip:
            continue
        needed = name in schema.get("required", ())
        default = "required" if needed else f"`{json.dumps(field.get('default', {}), ensure_ascii=False)}`"
        if isinstance(field.get("default"), dict):
            default = "below"
        text = field.get("description", "").replace("|", "\\|")
        cells = (f"`{name}`", kind(field, schema.get("$defs", {})), default, text)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def page() -> str:
    """The whole page."""
    parts = [HEAD, "| recipe | |", "|---|---|"]
    parts += [f"| `{name}` | {summary(path)} |" for name, path in builtin_recipes().items()]
    parts += ["", "## The recipe", "", *rows(Recipe, ("method", *SECTIONS)), ""]
    for name, model in SECTIONS.items():
        about = (model.__doc__ or "").strip().splitlines()[0]
        more = " A list: each entry describes one or several views." if name == "views" else ""
        parts += [f"## {name}", "", about.replace("``", "`") + more, "", *rows(model), ""]
    for name, method in METHODS.items():
        table = rows(method.Config, ("name",))
        parts += [f"## method: {name}", "", *(table if len(table) > 2 else ["No settings of its own."]), ""]
        for field, inner in method.Config.model_fields.items():
            if isinstance(inner.annotation, type) and issubclass(inner.annotation, BaseModel):
                parts += [f"### method.{field}", "", *rows(inner.annotation), ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
