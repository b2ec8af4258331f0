"""Did going on help? What a network knew of the images before it was trained further, and what it knows after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.backbones import Backbone
from unlabeled.core import dist, rng, run_files
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.progress import say
from unlabeled.core.words import command
from unlabeled.data import ImageSet
from unlabeled.probes.catalog import column, probe_class
from unlabeled.probes.intervals import mean_interval
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.banks import bank_of
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of, splits_to_probe
from unlabeled.runs.models import load_backbone, starting_backbone
from unlabeled.ssl.methods import METHODS

PROBE = "knn"
"""It has nothing to be trained: a difference is one of the embeddings."""
MOST = 10_000
"""At most so many images of either split are looked at."""


def goes_on(recipe: Recipe) -> bool:
    """Whether a recipe trains weights further without labels."""
    return recipe.backbone.weights is not None and recipe.epochs > 0 and not METHODS[recipe.method.name].needs_labels


def before_after(run: Run, source: str | Path | None = None) -> dict[str, Any] | None:
    """Compare a finished run with what it began with, on the same held-out images, and keep what is found.

    Args:
        run: the finished run; both networks see images of its size.
        source: the run that it went on from; default: the weights of its recipe.

    Returns:
        ``{data, probe, images, before, after, difference, interval}`` as :data:`run_files.BEFORE_AFTER` has it:
        accuracies, and the mean of the paired differences with Student's 95 % interval over the images (``None`` where
        all are alike). ``None`` for images without labels, which nobody can tell right answers of.

    Raises:
        UserError: the images or the weights cannot be had any more.
    """
    recipe = run.recipe()
    config = data_of(run)
    train, test = (_some(images, recipe.seed) for images in splits_to_probe(config, rule_of(run, config)))
    if train.labels is None or test.labels is None or len(np.unique(train.labels)) < 2:
        return None
    after = load_backbone(run.folder)
    if source is None:
        mean, std = (tuple(values.flatten().tolist()) for values in (after.mean, after.std))
        before = Backbone(starting_backbone(recipe, after.in_chans, after.image_size, mean, std)).eval()
    else:
        before = load_backbone(source)
    right = [_right(network, train, test) for network in (before, after)]
    gain = right[1] - right[0]
    interval = mean_interval(gain.tolist())
    found = {
        "data": train.name,
        "probe": PROBE,
        "images": len(test),
        "before": float(right[0].mean()),
        "after": float(right[1].mean()),
        "difference": float(gain.mean()),
        "interval": None if interval is None else list(interval),
    }
    atomic_write_json(run.folder / run_files.BEFORE_AFTER, found)
    return found


def look_back(run: Run, source: str | Path | None = None) -> None:
    """:func:`before_after` of a run that went on; that it cannot be compared is no failure."""
    began = source or run.recipe().backbone.weights
    if dist.active():
        say(
            f"before and after are not compared by several processes; do so with: {command('probe', began, run.folder)}"
        )
        return
    try:
        found = before_after(run, source)
    except UserError as error:
        say(f"before and after are not compared: {error}")
        return
    if found is None:
        say("before and after are not compared: the images have no labels. Look at the neighbours in the report.")


def in_words(found: dict[str, Any]) -> str:
    """One line: both accuracies, their difference, and whether it is one.

    >>> found = {"probe": "knn", "images": 100, "before": 0.5, "after": 0.6, "difference": 0.1}
    >>> in_words({**found, "interval": [-0.01, 0.21]})
    'kNN on 100 held-out images: before 50.0 %, after 60.0 %, +10.0 points [-1.0, +21.0]: no difference can be told'
    """
    low, high = found["interval"] or (found["difference"], found["difference"])
    verdict = "it helped" if low > 0 else "it made the network worse" if high < 0 else "no difference can be told"
    span = f" [{100 * low:+.1f}, {100 * high:+.1f}]" if found["interval"] else ""
    return (
        f"{column(found['probe'])} on {found['images']:,} held-out images: before {100 * found['before']:.1f} %, after "
        f"{100 * found['after']:.1f} %, {100 * found['difference']:+.1f} points{span}: {verdict}"
    )


def _some(images: ImageSet, seed: int) -> ImageSet:
    if len(images) <= MOST:
        return images
    return images.subset(np.sort(rng.numpy_generator(seed, "before and after").permutation(len(images))[:MOST]))


def _right(network: Backbone, train: ImageSet, test: ImageSet) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N,) 1 where the probe answers a test image rightly, else 0."""
    probe = probe_class(PROBE).for_suite(0, str(chosen())).fit(bank_of(network, train))
    answers = np.asarray(probe.predict(bank_of(network, test).features))
    return np.asarray(answers == test.labels, dtype=np.float64)
