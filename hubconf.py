"""The entry for ``torch.hub.load(repository, "backbone", path=...)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlabeled.backbones import Backbone

dependencies = ["torch", "torchvision", "timm", "safetensors", "pydantic", "filelock", "yaml", "faiss", "PIL", "numpy"]


def backbone(path: str, layer: str | int | None = None, pool: str | None = None) -> Backbone:
    """A pretrained backbone with ``embed(images)``.

    Args:
        path: a run folder, a timm folder, or ``hf-hub:OWNER/NAME``.
        layer, pool: see ``unlabeled.load_backbone``.
    """
    from unlabeled import load_backbone

    return load_backbone(path, layer=layer, pool=pool)
