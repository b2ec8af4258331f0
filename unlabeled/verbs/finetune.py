"""Fine-tune a run: the same loop, the finetune recipe, and the accuracy of the classifier that came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlabeled.backbones import load_config
from unlabeled.core import run_files
from unlabeled.core.errors import Interrupted, UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.launch import leads
from unlabeled.core.words import command
from unlabeled.probes.scoring import judge
from unlabeled.recipes.training_data import open_split
from unlabeled.runs.banks import bank_of
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of
from unlabeled.runs.models import backbone_folder, load_backbone
from unlabeled.verbs.pretrain import pretrain


def finetune(
    model: str | Path,
    data: str | None = None,
    *,
    labels: str | None = None,
    overrides: tuple[str, ...] = (),
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Train backbone and classifier with labels; report the classifier's accuracy on the test split.

    Args:
        model: a run folder, ``local-dir:PATH`` or a timm folder.
        data: a labelled data set; default: what the run was trained on.
        labels: which share of its labels may be used: ``"10%"``, ``"5-per-class"``; default: all.
        overrides: ``"key=value"`` settings of the ``finetune`` recipe.
        out: the new run's folder.
        resume: go on from its last checkpoint.
        overwrite: replace a run that is already there.

    Returns:
        The run (backbone and classifier) and ``{top1, interval, n, labelled, data, …}``, kept in ``finetune.json``.

    Raises:
        UserError: no such model or data, none named, or the data has no labels.
    """
    if resume and out is not None and Run(out).exists() and not (data or labels or overrides):
        run = pretrain(out, resume=True)  # by its own recipe
        return run, _judged(run)
    folder = backbone_folder(model)
    source = Run(model)
    settings = {f"data.{key}": value for key, value in data_of(source, data).model_dump(mode="json").items()}
    channels, size, _ = load_config(folder)["pretrained_cfg"]["input_size"]
    settings |= {
        "backbone.weights": str(folder),
        "data.size": size,
        "data.channels": channels,
        "data.labels": labels,
    }
    if out is None:
        suffix = f"-{labels.strip('%')}" if labels else ""
        out = Path("runs") / f"finetune-{Path(model).resolve().name}{suffix}"
    try:
        run = pretrain("finetune", out, overrides=overrides, resume=resume, overwrite=overwrite, **settings)
    except Interrupted as error:
        said = str(error).split("; go on with:")[0]
        raise Interrupted(f"{said}; go on with: {command('finetune', model, '--out', out, '--resume')}") from error
    return run, _judged(run)


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
