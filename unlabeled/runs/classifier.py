"""The classifier of a run: one linear layer over the backbone's embedding, and the names of its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from unlabeled.core import run_files
from unlabeled.core.errors import UserError, first_line
from unlabeled.core.files import atomic_folder, atomic_write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_classifier(run: Path, head: nn.Linear, classes: Sequence[str]) -> None:
    """Write a ``(K, D)`` head and the names of its K classes into the run's folder, whole or not at all."""
    with atomic_folder(run / run_files.CLASSIFIER) as folder:
        save_file({k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}, folder / WEIGHTS)
        atomic_write_json(folder / CONFIG, {"classes": list(classes)})


def load_classifier(run: Path) -> tuple[nn.Linear, tuple[str, ...]] | None:
    """Read the head and the class names (empty if they have none); ``None`` where the run has no classifier.

    Raises:
        UserError: the files are broken.
    """
    folder = run / run_files.CLASSIFIER
    if not (folder / WEIGHTS).is_file():
        return None
    try:
        weights = load_file(folder / WEIGHTS)
        classes, dim = weights["weight"].shape
        head = nn.Linear(dim, classes, bias="bias" in weights)
        head.load_state_dict(weights)
        names = tuple(map(str, json.loads((folder / CONFIG).read_text(encoding="utf-8"))["classes"]))
    except (OSError, ValueError, LookupError, RuntimeError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder} is broken ({first_line(error)}); train the run again.") from error
    return head, names
