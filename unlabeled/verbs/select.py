"""Choose the images of a large pool that are worth learning from, as a list that ``data=`` takes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write_text, expect_file
from unlabeled.data import ImageSet
from unlabeled.evaluation.coreset import far_from_prototypes, nearest_to, twins
from unlabeled.probes.arrays import Rows
from unlabeled.runs.banks import bank_of
from unlabeled.runs.copies import centred, copy_distance
from unlabeled.runs.embedding import images_for
from unlabeled.runs.models import load_backbone

WAYS = ("near", "clusters", "random")


@dataclass(frozen=True)
class Selected:
    """Every image of a pool is in one of three places: kept, left, or the twin of another.

    Attributes:
        pool: the images.
        by: how they were chosen.
        kept: rows that were chosen, the most wanted first.
        left: rows that were not, the most wanted first.
        twins: ``(T, 2)`` rows that were left out because they are all but the same as another, which comes second.
        score: ``(N,)`` what was chosen by, larger is more wanted: the cosine to the own images (near), the distance
            from the middle of the cluster (clusters); NaN for twins, and all NaN of a random choice.
    """

    pool: ImageSet
    by: str
    kept: Rows
    left: Rows
    twins: Rows
    score: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def paths(self) -> list[str]:
        """Of the images that were kept, the most wanted first."""
        return [] if self.pool.paths is None else [self.pool.paths[row] for row in self.kept.tolist()]

    def __repr__(self) -> str:
        return f"Selected({len(self.kept)} of {len(self.pool)} images by {self.by}, {len(self.twins)} were twins)"


def select(
    model: str | Path | Backbone,
    pool: str | Path,
    *,
    like: str | Path | None = None,
    by: str | None = None,
    keep: str | int | None = None,
    keep_twins: bool = False,
    seed: int = 0,
) -> Selected:
    """Choose images of a pool by a model's embeddings of them.

    Args:
        model: a :class:`Backbone`, or what :func:`unlabeled.load_backbone` takes.
        pool: the name or path of a data set; all of it, or its training split where it has splits of its own.
        like: one's own images: those of the pool that are nearest to them are chosen.
        by: ``"near"`` (to ``like``; the default with it), ``"clusters"`` (the least typical of each cluster; the
            default without), or ``"random"``, with which every other choice should be compared.
        keep: a number of images, or a share as ``"10%"``; without it, ``near`` stops by itself.
        keep_twins: keep images that are all but the same to the model.
        seed: of a random choice, and of the clusters.

    Raises:
        UserError: no such model or images, nothing to be near to, or no number of images to keep.
    """
    by = by or ("clusters" if like is None else "near")
    if by not in WAYS:
        raise UserError(f"select: there is no --by {by}.{nearest(by, WAYS)}")
    if by == "near" and like is None:
        raise UserError("select: near to what? Name your own images: --like FOLDER (or choose --by clusters).")
    if by != "near" and like is not None:
        raise UserError(f"select: --like is for the choice of images near to your own, not for --by {by}.")
    if by != "near" and keep is None:
        raise UserError(f"select: --by {by} needs the number of images to keep: --keep 1000 or --keep 10%.")
    backbone = model if isinstance(model, Backbone) else load_backbone(model).to(chosen())
    images = images_for(backbone, pool)
    number = None if keep is None else _number(keep, len(images))
    features = np.asarray(bank_of(backbone, images).features, np.float32)
    twin = np.full(len(images), -1, dtype=np.int64)
    if not keep_twins and len(images) > 1:
        units = centred(features)
        twin = twins(units, copy_distance(units))
    single = np.flatnonzero(twin < 0)
    number = None if number is None else min(number, len(single))
    score = np.full(len(images), np.nan, dtype=np.float32)
    if by == "random":
        order = rng.numpy_generator(seed, "select").permutation(len(single))
        taken = order[:number]
    elif by == "near":
        own = np.asarray(bank_of(backbone, images_for(backbone, str(like))).features, np.float32)
        taken, score[single] = nearest_to(own, features[single], number, seed=seed)
    else:
        assert number is not None
        taken, score[single] = far_from_prototypes(features[single], number, seed=seed)
    kept = single[taken]
    left = np.setdiff1d(single, kept)
    left = left[np.argsort(-score[left], kind="stable")]
    pairs = np.stack([np.flatnonzero(twin >= 0), twin[twin >= 0]], axis=1)
    return Selected(images, by, kept.astype(np.int64), left.astype(np.int64), pairs, score)


def _number(keep: str | int, total: int) -> int:
    """How many images are kept."""
    text = str(keep).strip()
    try:
        percent = float(text[:-1]) if text.endswith("%") else 0.0
        number = (round(total * percent / 100) if percent <= 100 else 0) if percent else int(text)
    except (ValueError, OverflowError):
        number = 0
    if not 1 <= number <= total:
        raise UserError(
            f"select: --keep {keep} must be a number or share of the {total} images, at least one of them: 1000 or 10%."
        )
    return number


def expect_list(path: str | Path) -> None:
    """See that a list can be written there, before anything is computed.

    Raises:
        UserError: another ending than ``.csv``, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".csv":
        raise UserError(f"{path}: the list is a table; give it the ending .csv.")
    expect_file(Path(path), "selected.csv")


def write_list(found: Selected, path: str | Path) -> None:
    """Write a CSV file with the kept images, the most wanted first: ``path, split`` and, where it is known, ``label``.

    All of them are for training: whoever wants to test names other images.

    Raises:
        UserError: the pool's images are no files, one of them has gone, or the list cannot be written.
    """
    expect_list(path)
    if found.pool.paths is None:
        raise UserError(f"'{found.pool.name}' holds no image files that a list could name; unpack it into a folder.")
    files = [Path(name).absolute() for name in found.paths]
    gone = next((file for file in files if not file.is_file()), None)
    if gone is not None:
        raise UserError(f"{gone} is not there (any more), or its name cannot be written; rename it.")
    known = found.pool.labelled()
    names: dict[str, str] = {}
    if known.labels is not None and known.paths is not None:
        classes = known.classes or [str(number) for number in range(int(known.labels.max()) + 1)]
        names = {file: classes[label] for file, label in zip(known.paths, known.labels.tolist(), strict=True)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "split", *(["label"] if names else [])])
    for file, name in zip(files, found.paths, strict=True):
        table.writerow([file, "train", *([names.get(name, "")] if names else [])])
    atomic_write_text(path, text.getvalue())
