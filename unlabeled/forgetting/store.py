"""Trained models kept on disk, so that ten methods share one retrained model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from unlabeled.core import files
from unlabeled.core.errors import UserError, first_line
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.epochs import Checkpoint, Seconds


@dataclass(frozen=True)
class Trained:
    """A model, the time its making took, and what the making says of itself (:class:`Checkpoint`)."""

    model: Classifier
    seconds: Seconds
    facts: dict[str, Any] = field(default_factory=dict)


def save_classifier(model: Classifier, path: Path) -> None:
    """Write all parameters and buffers as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    files.atomic_write(path, lambda handle: handle.write(save(tensors)))


def load_classifier(template: Classifier, path: Path) -> Classifier:
    """A copy of ``template`` with the weights in ``path``, in eval mode.

    Raises:
        UserError: the file is missing, damaged or of another architecture.
    """
    model = template.copy().cpu()
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"cannot load {path} ({reason}); remove it to compute it again.") from error
    return model.eval()


def _made(path: Path) -> tuple[Seconds, dict[str, Any]] | None:
    """What a finished making took, and says of itself; ``None`` if it has not finished."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        said = kept.pop("facts", {})
        return Seconds(**kept), said
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def cached(template: Classifier, folder: Path, key: str, make: Callable[[Checkpoint], Classifier]) -> Trained:
    """The model of ``key``: read from ``folder``, or made, resumed if ``make`` was interrupted, and kept.

    Args:
        template: any model of the same architecture.
        folder: one subfolder a key.
        key: names everything the model depends on.
        make: makes it; what it saves in its checkpoint survives an interruption.
    """
    home = folder / key
    facts = home / "facts.json"
    with files.locked(folder / f".{key}.lock", waiting=f"another process makes {key}"):
        files.sweep(home)
        if (made := _made(facts)) is not None:
            return Trained(load_classifier(template, home / "model.safetensors"), *made)
        checkpoint = Checkpoint(home / "checkpoint", key)
        model = make(checkpoint)
        seconds = checkpoint.seconds
        save_classifier(model, home / "model.safetensors")
        files.atomic_write_json(facts, {**seconds._asdict(), "facts": checkpoint.facts})
        files.remove(home / "checkpoint")  # as large as several models, and of no use any more
        # read back, for a model just made has another memory layout, in which sums round differently: what is measured
        # must not depend on whether an interruption lies between
        return Trained(load_classifier(template, home / "model.safetensors"), seconds, checkpoint.facts)
