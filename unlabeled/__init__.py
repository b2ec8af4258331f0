"""A representation's whole life without labels: pretrain it, probe it, make it forget, prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlabeled.core.extras import part
from unlabeled.core.version import VERSION

__version__ = VERSION

_HOME = {
    "Backbone": "unlabeled.backbones",
    "FeatureBank": "unlabeled.probes",
    "Recipe": "unlabeled.recipes.schema",
    "UserError": "unlabeled.core.errors",
    "embed": "unlabeled.runs.models",
    "forget": "unlabeled.verbs.forget",
    "load_backbone": "unlabeled.runs.models",
    "load_recipe": "unlabeled.recipes.resolve",
    "neighbours": "unlabeled.verbs.neighbours",
    "open_data": "unlabeled.data",
    "pretrain": "unlabeled.verbs.pretrain",
    "probe": "unlabeled.verbs.probe",
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
    "neighbours",
    "open_data",
    "pretrain",
    "probe",
]

if TYPE_CHECKING:
    from unlabeled.backbones import Backbone
    from unlabeled.core.errors import UserError
    from unlabeled.data import open_data
    from unlabeled.probes import FeatureBank
    from unlabeled.recipes.resolve import load_recipe
    from unlabeled.recipes.schema import Recipe
    from unlabeled.runs.models import embed, load_backbone
    from unlabeled.verbs.forget import forget
    from unlabeled.verbs.neighbours import neighbours
    from unlabeled.verbs.pretrain import pretrain
    from unlabeled.verbs.probe import probe


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: nothing is loaded before it is asked for
    if name in _HOME:
        return getattr(part(_HOME[name]), name)
    raise AttributeError(f"module 'unlabeled' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
