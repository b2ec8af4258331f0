"""A representation's whole life without labels: pretrain it, probe it, make it forget, prove it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unlabeled.core.version import VERSION

__version__ = VERSION

_HOME = {
    "Backbone": "unlabeled.backbones",
    "FeatureBank": "unlabeled.probes",
    "Recipe": "unlabeled.recipes",
    "UserError": "unlabeled.core.errors",
    "embed": "unlabeled.recipes",
    "forget": "unlabeled.recipes",
    "load_backbone": "unlabeled.recipes",
    "load_recipe": "unlabeled.recipes",
    "open_data": "unlabeled.data",
    "pretrain": "unlabeled.recipes",
    "probe": "unlabeled.recipes",
}
__all__ = [
    "Backbone",
    "FeatureBank",
    "Recipe",
    "UserError",
    "__version__",
    "embed",
    "forget",
    "load_backbone",
    "load_recipe",
    "open_data",
    "pretrain",
    "probe",
]

if TYPE_CHECKING:
    from unlabeled.backbones import Backbone
    from unlabeled.core.errors import UserError
    from unlabeled.data import open_data
    from unlabeled.probes import FeatureBank
    from unlabeled.recipes import Recipe, embed, forget, load_backbone, load_recipe, pretrain, probe


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: nothing is loaded before it is asked for
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'unlabeled' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
