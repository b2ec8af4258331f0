"""What runs are compared by before anyone looks at test images: a figure on training images, kept in each run."""

from __future__ import annotations

import numpy as np

from unlabeled.core import run_files
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write_json
from unlabeled.core.progress import say
from unlabeled.data.listing import HELD_FRACTION
from unlabeled.data.rows import held_out
from unlabeled.probes.catalog import SUITE
from unlabeled.probes.measures import rankme
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import training_images
from unlabeled.runs.banks import bank_of
from unlabeled.runs.folder import Run
from unlabeled.runs.models import open_model
from unlabeled.ssl.methods import METHODS
from unlabeled.verbs.probe import open_splits, probe_model

RANKME = "rankme"
RANKME_IMAGES = 25_600
"""As many as its authors take (Garrido et al. 2023, Sec. 3)."""


def metric(by: str | None, recipe: Recipe) -> str:
    """The metric asked for, or the usual one for the recipe's images: the linear probe where they have labels.

    Raises:
        UserError: there is no such metric, or the recipe's method learns from the labels that it needs.
    """
    known = (*SUITE, RANKME)
    if by is not None and by not in known:
        raise UserError(f"--by {by}: there is no such metric.{nearest(by, known)}")
    if by is None:
        by = "linear" if training_images(recipe).has_labels else RANKME
        say(f"compared by {by}" + (": the images have no labels" if by == RANKME else " on a held-out fifth"))
    method = recipe.method.name
    if by != RANKME and METHODS[method].needs_labels:
        raise UserError(
            f"'{method}' learns from the labels of all training images: none of them are held out for --by {by}. "
            "Sweep a method that needs no labels."
        )
    return by


def known(run: Run, by: str) -> float | None:
    """The figure that a finished run was given before."""
    found = run.read_json(run_files.HELD_OUT).get(by) if run.finished() else None
    return found if isinstance(found, float) else None


def score(run: Run, by: str) -> None:
    """Compute the figure of a finished run, and keep it there."""
    before = run.read_json(run_files.HELD_OUT)
    value = _rankme(run) if by == RANKME else _probed(run, by)
    with run.lock():
        atomic_write_json(run.folder / run_files.HELD_OUT, {**before, by: value})


def _probed(run: Run, probe: str) -> float:
    """Accuracy of a probe, fitted to four fifths of the labelled training images, on the others."""
    train, _ = open_splits(str(run.folder))
    codes = np.unique(train.require_labels("a sweep by a probe"), return_inverse=True)[1]
    kept, held = held_out(codes, HELD_FRACTION, "sweep")
    if not len(held):
        raise UserError(f"'{train.name}' has too few labelled images to hold some out; use --by {RANKME}.")
    features = run.recipe().features
    model = open_model(str(run.folder), train, layer=features.layer, pool=features.pool, seed=0)
    title = f"{run.folder.name}, a fifth of the training images held out"
    found = probe_model(model, train.subset(kept), train.subset(held), name=title, probes=(probe,))
    return float(found["probes"][probe]["top1"])


def _rankme(run: Run) -> float:
    """RankMe of the embeddings of training images."""
    images = training_images(run.recipe())
    rows = np.linspace(0, len(images) - 1, min(RANKME_IMAGES, len(images))).astype(np.int64)
    features = run.recipe().features
    model = open_model(str(run.folder), images, layer=features.layer, pool=features.pool, seed=0)
    return float(rankme(bank_of(model, images.subset(rows)).features))
