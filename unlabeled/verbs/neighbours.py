"""Which images of a folder look alike to a model: the nearest of each, and near-duplicates."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write_text, expect_file
from unlabeled.probes.search import search
from unlabeled.runs.embedding import embed_set, images_for
from unlabeled.runs.models import load_backbone


@dataclass(frozen=True)
class Neighbours:
    """The nearest images of each of N images, itself left out, the nearest first.

    Attributes:
        paths: of the images, in the order of the rows.
        rows: ``(N, k)`` row numbers of the neighbours.
        cosine: ``(N, k)`` cosine similarities of their embeddings, in [-1, 1].
    """

    paths: tuple[str, ...]
    rows: np.ndarray[Any, np.dtype[np.int64]]
    cosine: np.ndarray[Any, np.dtype[np.float32]]

    def of(self, path: str) -> list[tuple[str, float]]:
        """The neighbours of one image, by its path: ``[(path, cosine), …]``.

        Raises:
            UserError: there is no such image.
        """
        if path not in self.paths:
            raise UserError(f"there is no image '{path}'.{nearest(path, self.paths)}")
        row = self.paths.index(path)
        return [(self.paths[i], float(c)) for i, c in zip(self.rows[row].tolist(), self.cosine[row], strict=True)]

    def duplicates(self, least: float = 0.99) -> list[tuple[str, str, float]]:
        """Pairs of images with a cosine of at least ``least``, the most alike first; each pair once."""
        pairs = {}
        for row, place in np.argwhere(self.cosine >= least).tolist():
            other = int(self.rows[row, place])
            pairs[min(row, other), max(row, other)] = float(self.cosine[row, place])
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        return [(self.paths[a], self.paths[b], cosine) for (a, b), cosine in ordered]

    def __repr__(self) -> str:
        return f"Neighbours({len(self.paths)} images, {self.rows.shape[1]} nearest of each)"


def neighbours(model: str | Path | Backbone, images: str | Path, *, k: int = 5) -> Neighbours:
    """Find the ``k`` nearest images of every image of a folder (or other data set) by the cosine of their embeddings.

    Args:
        model: a :class:`Backbone`, or what :func:`unlabeled.load_backbone` takes.
        images: the name or path of a data set; all of it, or its training split where it has splits of its own.
        k: neighbours of each image.

    Raises:
        UserError: no such model or images, or fewer than two images.
    """
    if k < 1:
        raise UserError(f"k is the number of neighbours, at least 1, not {k}.")
    backbone = model if isinstance(model, Backbone) else load_backbone(model)
    data = images_for(backbone, images)
    if len(data) < 2:
        raise UserError(f"'{images}' holds a single image; neighbours need at least two.")
    features = normalize(embed_set(backbone, data))
    found = search(features, features, min(k, len(data) - 1), exclude_rows=np.arange(len(data)))
    names = tuple(data.paths) if data.paths else tuple(f"image {row}" for row in range(len(data)))
    return Neighbours(names, found.index.numpy(), found.similarity.float().numpy())


def write_neighbours(found: Neighbours, path: str | Path) -> None:
    """Write a CSV file with a line an image and neighbour: ``path, rank, neighbour, cosine``.

    Raises:
        UserError: the file cannot be written.
    """
    expect_file(Path(path), "neighbours.csv")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "rank", "neighbour", "cosine"])
    for row, name in enumerate(found.paths):
        for rank, (other, cosine) in enumerate(zip(found.rows[row].tolist(), found.cosine[row], strict=True), 1):
            table.writerow([name, rank, found.paths[other], f"{float(cosine):.6f}"])
    atomic_write_text(path, text.getvalue())
