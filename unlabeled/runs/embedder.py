"""A backbone as a scikit-learn transformer: images or their files in, features out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from unlabeled.backbones import Backbone
from unlabeled.core.device import chosen
from unlabeled.probes.arrays import InputError
from unlabeled.runs.embedding import embed
from unlabeled.runs.models import load_backbone

Features = np.ndarray[Any, np.dtype[np.float32]]


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embeds N images for a Pipeline; it learns nothing from them.

    ``make_pipeline(Embedder("runs/mine"), LogisticRegression()).fit(paths, labels).predict(other_paths)``

    Args:
        model: a :class:`Backbone`, or what :func:`unlabeled.load_backbone` takes.
        layer: an inner stage of the backbone instead of its embedding.
        pool: how a map or token sequence becomes a vector.
        batch_size: how many images are computed at once.

    Attributes:
        backbone_: the loaded network.
    """

    def __init__(
        self,
        model: str | Path | Backbone | None = None,
        *,
        layer: str | int | None = None,
        pool: str | None = None,
        batch_size: int = 256,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pool = pool
        self.batch_size = batch_size

    def fit(self, X: Any = None, y: Any = None) -> Embedder:
        """Load the model; the images are not looked at.

        Raises:
            UserError: there is no such model.
        """
        if self.model is None:
            raise InputError("Embedder needs a model: Embedder('runs/mine'), or timm:NAME, hf-hub:ID, local-dir:PATH.")
        if isinstance(self.model, Backbone):
            self.backbone_ = self.model
        else:
            self.backbone_ = load_backbone(self.model, layer=self.layer, pool=self.pool).to(chosen())
        self._n_features_out = self.backbone_.num_features
        return self

    def transform(self, X: Any) -> Features:
        """``(N, D)`` float32 of N images: a list of paths, or what :meth:`Backbone.embed` takes.

        Raises:
            UserError: a table of numbers instead of images, or a file that cannot be read.
        """
        check_is_fitted(self)
        if isinstance(X, np.ndarray) and X.ndim < 3 and X.dtype.kind in "biufc":
            raise InputError(
                f"Embedder embeds images, not a table of numbers of shape {X.shape}; give (N, H, W, C) or paths."
            )
        found = embed(self.backbone_, X, batch_size=self.batch_size)
        if not isinstance(X, str | Path) and len(found) != len(X):
            raise InputError(
                f"Embedder makes one row of each image, and {len(X)} became {len(found)}; give (N, …) images."
            )
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array, tags.input_tags.string = False, True, True
        return tags
