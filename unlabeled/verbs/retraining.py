"""Retraining by a run's own recipe without the images to forget, kept in the cache; left as a run where asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

from unlabeled import backbones
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_folder, atomic_write_text, cache_dir, explained
from unlabeled.core.progress import say
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.store import Trained, cached
from unlabeled.recipes.resolve import recipe_yaml
from unlabeled.runs.classifier import load_classifier as saved_classifier
from unlabeled.runs.deletion import Request
from unlabeled.runs.folder import Run
from unlabeled.runs.models import backbone_folder
from unlabeled.verbs.pretrain import pretrain


def load_classifier(model: str | Path) -> Classifier:
    """A run's backbone with its classifier, or without one where none was trained."""
    backbone, found = backbones.load(backbone_folder(model)), saved_classifier(Path(model))
    return Classifier(backbone, found[0] if found else None).eval()


class Retraining:
    """From a seed to the network that never met the images, trained by the source's recipe from another seed.

    A run with few labels saw only some rows: without the images it sees the rest of them, not another draw.

    Args:
        source: the run whose recipe is followed.
        original: its network.
        request: what to leave out.
        kept: a fingerprint of the retain images, with their labels.
    """

    def __init__(self, source: Run, original: Classifier, request: Request, kept: str) -> None:
        self.original, self.request, self.kept = original, request, kept
        self.recipe = source.recipe()

    def __call__(self, seed: int) -> Trained:
        home, key = self._home(), self._key(seed)
        left_out = self.request.left_out(prints=False)
        left_out.save(home / f"{key}.npz")
        data = self.recipe.data.model_copy(
            update={"without": str(home / f"{key}.npz"), "corrupt": None, "labels": None}
        )
        size = min(self.recipe.batch_size, len(left_out.retain_rows))
        seeded = self.recipe.seed + 1000 + seed
        again = self.recipe.model_copy(update={"data": data, "seed": seeded, "batch_size": size})

        def make(checkpoint: Checkpoint) -> Classifier:
            say(f"retraining without the forget set, seed {seed}")
            if interrupted := self._run(seed).exists():
                checkpoint.time_unknown()
            return load_classifier(pretrain(again, self._run(seed).folder, resume=interrupted).folder)

        return cached(self.original, home, key, make)

    def leave(self, seed: int, folder: Run) -> None:
        """Copy the retrained run to ``folder``, where it stands on its own: nothing in it refers to the cache.

        Raises:
            UserError: the cache has lost it.
        """
        made = self._run(seed)
        if not made.finished():
            raise UserError(f"{made.folder} is gone; remove {made.folder.parent} to train it again.")
        left_out = str(folder.left_out.resolve())
        with explained(folder.folder):
            for name in (run_files.METRICS, run_files.ENVIRONMENT, run_files.DATA):
                if (made.folder / name).is_file():
                    atomic_write_text(folder.folder / name, (made.folder / name).read_text(encoding="utf-8"))
            for name in (run_files.PICTURES, *run_files.BESIDE, run_files.CLASSIFIER, run_files.BACKBONE):
                if (made.folder / name).is_dir():
                    with atomic_folder(folder.folder / name) as new:
                        shutil.copytree(made.folder / name, new, dirs_exist_ok=True)
        for network in (folder.backbone, *folder.also_kept()):
            *before, last = backbones.read_lineage(network)
            seen = last.data.model_copy(update={"without": left_out}) if last.data else None
            own = last.model_copy(update={"place": str(folder.folder), "data": seen})
            backbones.write_lineage([*before, own], network)
        recipe = made.recipe()
        data = recipe.data.model_copy(update={"without": left_out})
        atomic_write_text(folder.folder / run_files.RECIPE, recipe_yaml(recipe.model_copy(update={"data": data})))

    def _home(self) -> Path:
        return cache_dir() / run_files.FORGETTING

    def _key(self, seed: int) -> str:
        return f"{fingerprint(self.original)}-{self.kept[:16]}-s{seed}"

    def _run(self, seed: int) -> Run:
        return Run(self._home() / self._key(seed) / "run")
