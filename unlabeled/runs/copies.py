"""Copies of the forget images in the retain set: the same pixels, or all but the same to the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.progress import say
from unlabeled.data.prints import pixel_prints
from unlabeled.probes.arrays import Rows
from unlabeled.probes.search import search
from unlabeled.runs.banks import bank_of
from unlabeled.runs.deletion import Request

NEAR = 0.05
"""A near-copy's cosine distance, over the median distance of an image to the one nearest to it.

Of Fashion-MNIST's images in a small SimCLR network it finds 97 % of those saved again as JPEG of quality 90 and 44 % of
those of quality 60; 0.4 % of the images are that close to one that is not a copy.
"""
SAMPLE = 2000
"""Images from which the median is taken."""

Features = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Copies:
    """What was found in the retain set.

    Attributes:
        exact: ``(E,)`` positions of images with the very pixels of one to forget.
        near: ``(M,)`` positions of others whose features lie within ``threshold`` of one to forget.
        threshold: a cosine distance of centred features.
        held_out: how many held-out images have the pixels of one to forget.
    """

    exact: Rows
    near: Rows
    threshold: float
    held_out: int = 0

    @property
    def rows(self) -> Rows:
        """All positions."""
        return np.union1d(self.exact, self.near).astype(np.int64)

    def facts(self, *, taken: bool) -> dict[str, Any]:
        """For the record: no image is named."""
        return {
            "exact": len(self.exact),
            "near": len(self.near),
            "threshold": self.threshold,
            "exact_held_out": self.held_out,
            "taken_along": taken,
        }


def copies_of(request: Request, model: Backbone) -> Copies:
    """Look for copies of a request's images, and list them.

    Args:
        request: what is to be forgotten.
        model: the network in whose features images are compared.
    """
    split, trained = request.split, request.train.subset(request.trained)
    prints = np.array(pixel_prints(trained))
    asked = set(prints[split.forget_rows].tolist())
    exact = split.retain_rows[[print_ in asked for print_ in prints[split.retain_rows].tolist()]]
    held_out = sum(print_ in asked for print_ in pixel_prints(request.test))
    features = np.asarray(bank_of(model, trained).features, np.float32)
    near, threshold = near_copies(features, split.forget_rows, np.setdiff1d(split.retain_rows, exact))
    found = Copies(exact, near, threshold, held_out)
    _list(found, trained.paths)
    return found


def near_copies(features: Features, forget: Rows, retain: Rows) -> tuple[Rows, float]:
    """The rows of ``retain`` that lie all but on a row of ``forget``, and the cosine distance up to which they do.

    Distances are those of centred features, as one direction that all share would make everything alike; the measure
    is how near different images lie (:data:`NEAR`).

    Args:
        features: ``(N, D)`` of all images.
        forget, retain: rows of it.
    """
    if len(retain) < 3:
        return np.empty(0, np.int64), 0.0
    units = centred(features)
    kept = units[retain]
    threshold = copy_distance(kept)
    distance = 1 - search(units[forget], kept, 1).similarity[:, 0].numpy()
    return retain[distance <= threshold].astype(np.int64), threshold


def centred(features: Features) -> Features:
    """``(N, D)`` features less their mean, as unit vectors: the directions in which copies are looked for."""
    units: Features = normalize(features - features.mean(0))
    return units


def copy_distance(units: Features) -> float:
    """The cosine distance up to which one of ``(N, D)`` images, N >= 2, counts as nearly a copy of another."""
    sample = np.sort(rng.numpy_generator("copies").permutation(len(units))[:SAMPLE])
    nearest = search(units, units[sample], 1, exclude_rows=sample).similarity[:, 0].numpy()
    return NEAR * float(np.median(np.maximum(1 - nearest, 0)))


def _list(found: Copies, paths: tuple[str, ...] | None) -> None:
    for rows, how in ((found.exact, "the same pixels as"), (found.near, "nearly the same features as")):
        if len(rows):
            names = "; ".join(paths[row] if paths else f"image {row}" for row in rows.tolist())
            say(f"{len(rows)} retain images have {how} one to forget ({names})")
    if found.held_out:
        say(f"{found.held_out} held-out images have the same pixels as one to forget; delete their files, too")
