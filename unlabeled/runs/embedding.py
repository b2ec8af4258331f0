"""Embeddings of files, folders, data sets and pictures in memory, by what a user calls a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.backbones import Backbone
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.progress import progress
from unlabeled.data import ImageSet, open_data
from unlabeled.data.loose import open_files, paths_in
from unlabeled.runs.models import load_backbone


def embed(model: str | Path | Backbone, images: Any, *, batch_size: int = 256) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Embed images: files, everything in a folder, a data set, or pictures in memory.

    ``paths = unlabeled.image_paths("photos"); vectors = unlabeled.embed("runs/mine", paths)`` has a row a path.

    Args:
        model: a :class:`Backbone`, or what :func:`load_backbone` takes.
        images: the path of an image or a list of them; what :meth:`Backbone.embed` takes; or the name or path of a data
            set, in the order of its paths. Of one that has splits of its own, the training split is embedded;
            ``open_data(images, "all").paths`` says which row is which file.
        batch_size: how many images are computed at once.

    Returns:
        ``(N, D)`` float32.

    Raises:
        UserError: there is no such model or image, or one of the files cannot be read.
    """
    backbone = model if isinstance(model, Backbone) else load_backbone(model).to(chosen())
    if (paths := paths_in(images)) is not None:
        data = open_files(paths, size=backbone.image_size, channels=backbone.in_chans, rule=backbone.rule)
        found = embed_set(backbone, data, batch_size)
        if bad := data.bad_files:
            first = "; ".join(f"{path} ({reason})" for path, reason in bad[:3])
            raise UserError(f"embed: {len(bad)} of {len(data)} files cannot be read: {first}; leave them out.")
        return found
    if not isinstance(images, str | Path):
        return np.asarray(backbone.embed(images, batch_size))
    return embed_set(backbone, images_for(backbone, images), batch_size)


def images_for(backbone: Backbone, images: str | Path) -> ImageSet:
    """All images of a data set, as the backbone takes them."""
    return open_data(str(images), "all", size=backbone.image_size, channels=backbone.in_chans, rule=backbone.rule)


def embed_set(backbone: Backbone, data: ImageSet, batch_size: int = 256) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``(N, D)`` float32 of an open data set, decoded a batch at a time."""
    parts = []
    with progress("embed", len(data), unit="img") as tick:
        for start in range(0, len(data), batch_size):
            rows = np.arange(start, min(start + batch_size, len(data)))
            parts.append(np.asarray(backbone.embed(data.gather(rows), batch_size)))
            tick(len(rows))
    return np.concatenate(parts)
