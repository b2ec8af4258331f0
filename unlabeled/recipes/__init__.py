"""Recipes: what to do, written down, checked, and carried out. Everything is imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Recipe": "schema",
    "Run": "run",
    "dry_run": "pretrain",
    "embed": "models",
    "forget": "forget",
    "load_backbone": "models",
    "load_recipe": "resolve",
    "pretrain": "pretrain",
    "probe": "evaluate",
}
__all__ = ["Recipe", "Run", "dry_run", "embed", "forget", "load_backbone", "load_recipe", "pretrain", "probe"]

if TYPE_CHECKING:
    from unlabeled.recipes.evaluate import probe
    from unlabeled.recipes.forget import forget
    from unlabeled.recipes.models import embed, load_backbone
    from unlabeled.recipes.pretrain import dry_run, pretrain
    from unlabeled.recipes.resolve import load_recipe
    from unlabeled.recipes.run import Run
    from unlabeled.recipes.schema import Recipe


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
