"""The scikit-learn transformer keeps scikit-learn's promises, and its features are those of `embed`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import unlabeled
from unlabeled import Embedder, backbones
from unlabeled.core.errors import UserError

CHECKS = (
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_get_params_invariance",
    "check_set_params", "check_estimator_repr",
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_mixin_order",
)  # fmt: skip
"""Those that need no table of numbers, which an embedder refuses."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in ``net``, and dark and light pictures in ``photos``."""
    folder = tmp_path_factory.mktemp("embedder")
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    net = backbones.create(
        "resnet10_small", in_chans=3, image_size=12, mean=[0.5] * 3, std=[0.25] * 3, seed=0, **small
    )  # fmt: skip
    backbones.save(net, folder / "net")
    random = np.random.default_rng(0)
    for name, level in (("dark", 50), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(level - 40, level + 40, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("check", CHECKS)
def test_the_checks_of_scikit_learn(check: str) -> None:
    getattr(estimator_checks, check)("Embedder", Embedder())


def test_a_pipeline_takes_paths_and_is_cross_validated(home: Path) -> None:
    paths = unlabeled.image_paths(home / "photos")
    labels = [Path(path).parent.name for path in paths]
    line = make_pipeline(Embedder(str(home / "net"), batch_size=7), LogisticRegression(max_iter=1000))
    assert cross_val_score(line, paths, labels, cv=3).min() == 1.0
    line.fit(paths, labels)
    assert line.predict(np.array(paths[:2])).tolist() == ["dark", "dark"]
    assert str(line[:1].get_feature_names_out()[1]) == "embedder1"


def test_the_features_are_those_of_embed_and_nothing_changes_in_between(home: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    embedder = Embedder(str(home / "net"))
    with pytest.raises(NotFittedError):
        embedder.transform(pixels)
    found = embedder.fit(pixels).transform(pixels)
    before = set(vars(embedder))
    np.testing.assert_array_equal(found, unlabeled.embed(home / "net", pixels))
    np.testing.assert_array_equal(embedder.transform(pixels), found)
    assert set(vars(embedder)) == before
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(pixels), found)
    assert not hasattr(clone(embedder), "backbone_")
    inner = Embedder(str(home / "net"), layer="layer2", pool="max").fit()
    np.testing.assert_array_equal(
        inner.transform(pixels), unlabeled.load_backbone(home / "net", layer="layer2", pool="max").embed(pixels)
    )


def test_what_is_no_image_is_refused(home: Path) -> None:
    embedder = Embedder(home / "net").fit()
    with pytest.raises(UserError, match="not a table of numbers of shape"):
        embedder.transform(np.zeros((4, 3)))
    with pytest.raises(UserError, match="12 became 1"):
        embedder.transform(np.zeros((12, 12, 3), np.uint8))
    with pytest.raises(UserError, match="Embedder needs a model"):
        Embedder().fit()
