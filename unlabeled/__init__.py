"""A representation's whole life without labels: pretrain it, probe it, make it forget, prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlabeled.core.extras import part
from unlabeled.core.version import VERSION

__version__ = VERSION

_HOME = {
    "Backbone": "unlabeled.backbones",
    "Embedder": "unlabeled.runs.embedder",
    "FeatureBank": "unlabeled.probes",
    "Recipe": "unlabeled.recipes.schema",
    "UserError": "unlabeled.core.errors",
    "embed": "unlabeled.runs.embedding",
    "finetune": "unlabeled.verbs.finetune",
    "forget": "unlabeled.verbs.forget",
    "image_paths": "unlabeled.data.loose",
    "load_backbone": "unlabeled.runs.models",
    "load_recipe": "unlabeled.recipes.resolve",
    "neighbours": "unlabeled.verbs.neighbours",
    "open_data": "unlabeled.data",
    "predict": "unlabeled.verbs.predict",
    "pretrain": "unlabeled.verbs.pretrain",
    "probe": "unlabeled.verbs.probe",
    "select": "unlabeled.verbs.select",
}
__all__ = [
    "Backbone",
    "Embedder",
    "FeatureBank",
    "Recipe",
    "UserError",
    "__version__",
    "embed",
    "finetune",
    "forget",
    "image_paths",
    "load_backbone",
    "load_recipe",
    "neighbours",
    "open_data",
    "predict",
    "pretrain",
    "probe",
    "select",
]

if TYPE_CHECKING:
    from unlabeled.backbones import Backbone
    from unlabeled.core.errors import UserError
    from unlabeled.data import open_data
    from unlabeled.data.loose import image_paths
    from unlabeled.probes import FeatureBank
    from unlabeled.recipes.resolve import load_recipe
    from unlabeled.recipes.schema import Recipe
    from unlabeled.runs.embedder import Embedder
    from unlabeled.runs.embedding import embed
    from unlabeled.runs.models import load_backbone
    from unlabeled.verbs.finetune import finetune
    from unlabeled.verbs.forget import forget
    from unlabeled.verbs.neighbours import neighbours
    from unlabeled.verbs.predict import predict
    from unlabeled.verbs.pretrain import pretrain
    from unlabeled.verbs.probe import probe
    from unlabeled.verbs.select import select


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: nothing is loaded before it is asked for
    if name in _HOME:
        return getattr(part(_HOME[name]), name)
    raise AttributeError(f"module 'unlabeled' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
