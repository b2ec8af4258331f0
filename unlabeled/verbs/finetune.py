"""Fine-tune a run: the same loop, the finetune recipe, and the accuracy of the classifier that came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unlabeled.backbones import load_config
from unlabeled.core import dist, run_files
from unlabeled.core.errors import Interrupted, UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.launch import leads
from unlabeled.core.progress import say
from unlabeled.core.words import command
from unlabeled.probes.scoring import judge
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import open_split, training_images
from unlabeled.report.notebook import html_facts
from unlabeled.runs.banks import bank_of
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, honoured, rule_of
from unlabeled.runs.models import backbone_folder, load_backbone, settled
from unlabeled.verbs.pretrain import pretrain


class Finetuned(NamedTuple):
    """A run with a classifier, and ``{top1, interval, n, labelled, data, …}`` of it on held-out images."""

    run: Run
    result: dict[str, Any]

    @property
    def accuracy(self) -> str:
        """In percent, with its 95 % interval."""
        low, high = self.result["interval"]
        return f"{100 * self.result['top1']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    def __repr__(self) -> str:
        return f"Finetuned({str(self.run.folder)!r}: {self.accuracy} of {self.result['n']} held-out images)"

    def _repr_html_(self) -> str:
        held = f"{self.accuracy} of {self.result['n']:,} held-out images of {self.result['data']}"
        return html_facts({"run": self.run.folder, "right": held, "labelled images": self.result["labelled"]})


def finetune(
    model: str | Path,
    data: str | None = None,
    *,
    labels: str | None = None,
    overrides: tuple[str, ...] = (),
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Finetuned:
    """Train backbone and classifier with labels; report the classifier's accuracy on the test split.

    ``finetune("runs/mine", labels="10%", epochs=30, optimizer={"lr": 1e-3})`` is ``unlabeled finetune runs/mine
    --labels 10% epochs=30 optimizer.lr=1e-3``.

    Args:
        model: a run folder, ``local-dir:PATH`` or a timm folder.
        data: a labelled data set; default: what the run was trained on.
        labels: which share of its labels may be used: ``"10%"``, ``"5-per-class"``; default: all.
        overrides: ``"key=value"`` settings of the ``finetune`` recipe.
        out: the new run's folder.
        resume: go on from its last checkpoint.
        overwrite: replace a run that is already there.
        settings: of the recipe, by their names. A ``batch_size`` that nobody chose shrinks to the labelled images.

    Returns:
        The run (backbone and classifier) and ``{top1, interval, n, labelled, data, …}``, kept in ``finetune.json``.

    Raises:
        UserError: no such model or data, none named, or the data has no labels.
    """
    if resume and out is not None and Run(out).exists() and not (data or labels or overrides or settings):
        run = pretrain(out, resume=True)  # by its own recipe
        return Finetuned(run, _judged(run))
    folder = backbone_folder(model)
    source = Run(model)
    own = {f"data.{key}": value for key, value in data_of(source, data).model_dump(mode="json").items()}
    channels, size, _ = load_config(folder)["pretrained_cfg"]["input_size"]
    own |= {"backbone.weights": str(folder), "data.size": size, "data.channels": channels, "data.labels": labels}
    if out is None:
        suffix = f"-{labels.strip('%')}" if labels else ""
        out = Path("runs") / f"finetune-{Path(model).resolve().name}{suffix}"
    recipe = honoured(settled(load_recipe("finetune", overrides, own | settings)))
    if "batch_size" not in {key.partition("=")[0] for key in (*overrides, *settings)}:
        recipe = _fitting(recipe)
    try:
        run = pretrain(recipe, out, resume=resume, overwrite=overwrite)
    except Interrupted as error:
        said = str(error).split("; go on with:")[0]
        raise Interrupted(f"{said}; go on with: {command('finetune', model, '--out', out, '--resume')}") from error
    return Finetuned(run, _judged(run))


def _fitting(recipe: Recipe) -> Recipe:
    """The recipe with batches that are no larger than its images, which may be few."""
    images = len(training_images(recipe))
    parts = recipe.optimizer.accumulate * max(recipe.hardware.devices * recipe.hardware.nodes, dist.world_size())
    size = images // parts * parts
    if not 0 < size < recipe.batch_size:
        return recipe
    say(f"batch_size is {size}, not {recipe.batch_size}: there are {images} labelled images to learn from")
    return recipe.model_copy(update={"batch_size": size})


def _judged(run: Run) -> dict[str, Any]:
    result = accuracy(run)
    if leads():
        atomic_write_json(run.folder / run_files.FINETUNE, result)
    return result


def accuracy(run: Run) -> dict[str, Any]:
    """Top-1 accuracy, with its 95 % interval, of a run's classifier on the test split of its data."""
    backbone = load_backbone(run.folder)
    config = data_of(run).model_copy(update={"size": backbone.image_size, "channels": backbone.in_chans})
    images = open_split(config, "test", rule_of(run, config)).labelled()
    truth = images.require_labels("testing a classifier")
    found = load_classifier(run.folder)
    if found is None:
        raise UserError(f"{run.folder} has no classifier; make one with: {command('finetune', run.folder)}")
    head = found[0]
    features = torch.from_numpy(np.asarray(bank_of(backbone, images).features, np.float32))
    with torch.inference_mode():
        logits = head(features)
    judged = judge(logits, truth, np.arange(head.out_features))
    return {"data": images.name, "labelled": run.read_json(run_files.DATA)["images"], **judged.asdict()}
