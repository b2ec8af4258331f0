"""What becomes of what was built on an old model when a new one takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.evaluation.retrieval import retrieval
from unlabeled.probes.arrays import all_rows
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.similarity import unbiased_cka

STRENGTHS = tuple(float(strength) for strength in np.logspace(-5, 1, 7))
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Representation:
    """What one model makes of a data set: features of both splits, its answers, and its layers on some test images."""

    train: FeatureBank
    test: FeatureBank
    right: Array
    """(N,) whether each test image is answered rightly."""
    layers: Mapping[str, Tensor]


class LinearMap:
    """The linear map, with an offset, from one feature space to another that suits the same images best.

    Ridge regression (scikit-learn's), its strength by leave-one-out on the rows it is fitted on; strengths count in
    units of the mean squared length of the features.
    """

    def __init__(self, source: Any, target: Any) -> None:
        X, Y = (np.asarray(rows, dtype=np.float64) for rows in (source, target))
        if len(X) != len(Y):
            raise UserError(f"a map needs the same images in both spaces, not {len(X)} and {len(Y)}.")
        self.mean = X.mean(0)
        scale = float(np.square(X - self.mean).sum(1).mean()) or 1.0
        self.ridge = RidgeCV(alphas=[strength * scale for strength in STRENGTHS]).fit(X - self.mean, Y)

    def __call__(self, rows: Any) -> Array:
        """(N, D) rows of the first space as (N, E) rows of the second."""
        found: Array = np.asarray(self.ridge.predict(np.asarray(rows, dtype=np.float64) - self.mean))
        return found.reshape(len(found), -1)


def compatibility(new: Representation, old: Representation) -> dict[str, float]:
    """How well ``new`` can take the place of ``old``.

    Returns:
        ``old``, ``new``: mean average precision of the test images as queries of the training images, within a model.
        ``cross``: the new model's queries, through a linear map, against the old gallery, which was not computed again:
            above ``old``, the new model serves the old gallery (Shen et al. 2020, Eq. 1).
        ``map_r2``: share of the old test features' variance that the map explains.
        ``negative_flips``: share of test images that the old model answers rightly and the new one wrongly
            (Yan et al. 2021, Eq. 1); ``positive_flips``: the other way round.
        ``cka``: unbiased linear CKA of the test features.

    Raises:
        UserError: they are not of the same images.
    """
    if len(new.test) != len(old.test):
        raise UserError(f"compatibility needs the same images, not {len(new.test)} and {len(old.test)}.")
    to_old = LinearMap(new.train.features, old.train.features)
    mapped, known = to_old(new.test.features), np.asarray(old.test.features, dtype=np.float64)
    left = np.square(known - mapped).sum() / np.square(known - known.mean(0)).sum()

    def precision(queries: Any, gallery: FeatureBank) -> float:
        return retrieval(queries, new.test.labels, gallery.features, gallery.labels)["map"]

    return {
        "old": precision(old.test.features, old.train),
        "new": precision(new.test.features, new.train),
        "cross": precision(mapped.astype(np.float32), old.train),
        "map_r2": float(1 - left),
        "negative_flips": float((old.right & ~new.right).mean()),
        "positive_flips": float((new.right & ~old.right).mean()),
        "cka": unbiased_cka(all_rows(new.test), all_rows(old.test)),
    }
