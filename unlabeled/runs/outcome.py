"""What a training leaves in its run folder besides checkpoints and metrics."""

from __future__ import annotations

from unlabeled import backbones
from unlabeled.backbones import Origin, Seen, digest_of, lineage_of, remember_lineage, remember_rule
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.data import ImageSet
from unlabeled.runs.classifier import save_classifier
from unlabeled.runs.folder import Run
from unlabeled.runs.models import backbone_folder
from unlabeled.ssl.method import Method


def describe(run: Run, images: ImageSet) -> None:
    """Write down which images a run learns from, and which files could not be read."""
    facts = {
        "name": images.name,
        "split": images.split,
        "fingerprint": images.fingerprint,
        "origin": images.origin,
        "images": len(images),
        "shape": list(images.shape),
        "pixels": images.rule.asdict(),
        "notes": [line for line in (images.note, *images.lines) if line],
        "classes": list(images.classes) if images.classes else None,
        "bad_files": [[str(part) for part in bad] for bad in images.bad_files],
    }
    atomic_write_json(run.folder / run_files.DATA, facts)


def keep_outcome(run: Run, method: Method, images: ImageSet) -> None:
    """Save the backbone, and what the method keeps beside it.

    Raises:
        UserError: the run's folder is gone, or the disk is full.
    """
    if not run.exists():
        raise UserError(f"{run.folder} was removed while the run worked in it; its result is not kept.")
    kept, lineage = method.kept(), (*lineage_of(method.backbone), _step(run, method, images))
    for name, network in kept.beside.items():
        remember_rule(remember_lineage(network, lineage), images.rule)
        backbones.save(backbones.merged(network), run.beside(name))
    if kept.classifier is not None:
        named = images.classes if len(images.classes or ()) == kept.classifier.out_features else None
        save_classifier(run.folder, kept.classifier, named or ())
    if not run.recipe().data.store:
        describe(run, images)  # what is decoded batch by batch is known to be unreadable only now
    # last, because a backbone folder says that the run has finished
    remember_rule(remember_lineage(kept.backbone, lineage), images.rule)
    backbones.save(backbones.merged(kept.backbone), run.backbone)


def seen_of(images: ImageSet, without: str | None) -> Seen:
    """What a step learned from, for the lineage of its weights."""
    return Seen(
        name=images.name,
        fingerprint=images.fingerprint,
        images=len(images),
        without=without,
        origin=images.origin,
    )


def _step(run: Run, method: Method, images: ImageSet) -> Origin:
    """What this training adds to the life of the weights it began with."""
    recipe = run.recipe()
    seen = seen_of(images, recipe.data.without) if recipe.epochs else None  # random weights have met nothing
    teachers = tuple(f"{teacher.name} ({teacher.digest})" for teacher in getattr(method, "teachers", ()))
    step = Origin(did=recipe.method.name, name=recipe.name, data=seen, place=str(run.folder), teachers=teachers)
    if recipe.backbone.weights is None:
        return step
    digest = digest_of(backbone_folder(recipe.backbone.weights) / "model.safetensors")
    return step.model_copy(update={"source": recipe.backbone.weights, "digest": digest})
