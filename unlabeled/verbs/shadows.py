"""Shadow models of a run: its own recipe on random halves of its images, in the cache and shared by all requests."""

from __future__ import annotations

import numpy as np

from unlabeled.core import run_files
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import LabelledImages, Preprocess, Rows
from unlabeled.forgetting.judge.attacks import Array
from unlabeled.forgetting.judge.shadows import Shadows
from unlabeled.forgetting.store import cached
from unlabeled.runs.folder import Run
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.retraining import load_classifier


class ShadowRuns:
    """Trains shadow models when they are first asked for; an interrupted one goes on where it was.

    Args:
        source: the run whose recipe is followed, each time from another seed.
        original: its network.
        preprocess: from pixels to its input.
        count: how many, an even number.
    """

    def __init__(self, source: Run, original: Classifier, preprocess: Preprocess, count: int) -> None:
        self.source, self.original, self.preprocess, self.count = source, original, preprocess, count
        self._made: Shadows | None = None

    def memorisation(self, train: ImageSet, rows: Rows) -> Array:
        """How much each image at ``rows`` of the data was memorised."""
        return self.of(train, rows).memorisation(self._pool(train, rows), chosen())

    def of(self, train: ImageSet, rows: Rows) -> Shadows:
        """The shadow models of the images at ``rows`` of the data, which are those in the model.

        Raises:
            UserError: it is no run with a classifier, or its labels were corrupted: another draw would be learned.
        """
        if self._made is None:
            self._made = self._train(self._pool(train, rows), len(train))
        return self._made

    def _pool(self, train: ImageSet, rows: Rows) -> LabelledImages:
        return LabelledImages(train, train.require_labels("shadow models"), self.preprocess, rows)

    def _train(self, pool: LabelledImages, total: int) -> Shadows:
        if self.original.head is None or not self.source.exists():
            raise UserError("shadow models need a run that was trained with labels: answers are what is compared.")
        recipe = self.source.recipe()
        if recipe.data.corrupt is not None:
            raise UserError(f"shadow models would draw other wrong labels than data.corrupt={recipe.data.corrupt} did.")
        home, cost = cache_dir() / run_files.FORGETTING, self.count / 2
        say(f"{self.count} shadow models on halves of {len(pool)} images: about {cost:g} times the run's own training")

        def train(number: int, images: LabelledImages) -> Classifier:
            key = f"{fingerprint(self.original)}-shadow-{images.fingerprint[:16]}-s{number}"
            half = ForgetSplit("shadow", number, np.setdiff1d(np.arange(total), images.rows), images.rows)
            half.save(home / f"{key}.npz")
            data = recipe.data.model_copy(update={"without": str(home / f"{key}.npz"), "labels": None})
            own = {"data": data, "seed": recipe.seed + 2000 + number, "batch_size": min(recipe.batch_size, len(images))}

            def make(checkpoint: Checkpoint) -> Classifier:
                say(f"shadow model {number + 1} of {self.count}")
                run = Run(home / key / "run")
                if interrupted := run.exists():
                    checkpoint.time_unknown()
                made = pretrain(recipe.model_copy(update=own), run.folder, resume=interrupted)
                return load_classifier(made.folder)

            return cached(self.original, home, key, make).model

        return Shadows.trained(pool, self.count, train)
