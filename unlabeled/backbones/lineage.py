"""Where weights come from: every step from the first import or random start to what a folder holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

from pydantic import Field, ValidationError
from torch import nn

from unlabeled.core.config import Config
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json

FILE = "lineage.json"


class Seen(Config):
    """The images that a step learned from."""

    name: str
    fingerprint: str
    images: int
    without: str | None = None
    """The forget split whose rows were left out."""
    origin: str = ""
    """Where they came from (``ImageSet.origin``); older files do not say it."""


class Origin(Config):
    """One step in the life of weights.

    Attributes:
        did: the verb (``import``, ``pretrain``, ``finetune``, ``forget``, ``export``) or the method, e.g. ``distill``.
        source: what the step began with, as it was called: a file, a model's name, a run; empty: random weights.
        digest: of the weights it began with (:func:`digest_of`); empty: random weights.
        name: what came out is called: an architecture, a recipe, a format.
        data: what it learned from; ``None`` where no image was read, or where nobody knows (an import).
        place: the folder it was written to.
        teachers: frozen networks that it learned from beside the images, with their digests.
    """

    did: str
    source: str = ""
    digest: str = ""
    name: str = ""
    data: Seen | None = None
    place: str = ""
    teachers: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def __str__(self) -> str:
        name = self.name if self.name != self.did else ""
        start = f" from {self.source}" if self.source else ""
        seen = f" on {self.data.name} ({self.data.images} images)" if self.data else ""
        told = f", taught by {', '.join(Path(teacher).name for teacher in self.teachers)}" if self.teachers else ""
        return f"{self.did} {name}{start}{seen}{told}".replace("  ", " ").strip()


def digest_of(path: str | Path) -> str:
    """A name for weights that is the same for the same bytes: a hash of the file, or of a folder's weight files."""
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) + sorted(path.glob("*.bin")) if path.is_dir() else [path]
    hasher = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                hasher.update(chunk)
    return hasher.hexdigest()


def read_lineage(folder: str | Path) -> tuple[Origin, ...]:
    """The steps that led to the weights in a backbone's folder, the first first; empty where nobody wrote them down.

    Raises:
        UserError: the file is broken.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return ()
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        return tuple(Origin.model_validate(step) for step in steps)
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as error:
        raise UserError(f"{path} is not a lineage of weights; remove it if you know where they come from.") from error


def write_lineage(steps: Sequence[Origin], folder: Path) -> None:
    """Write ``lineage.json``; nothing where there is nothing to say."""
    if steps:
        atomic_write_json(folder / FILE, {"steps": [step.model_dump(exclude_defaults=True) for step in steps]})


def lineage_of(model: nn.Module) -> tuple[Origin, ...]:
    """The steps that led to a model's weights, as far as it was loaded from where they are written down."""
    return cast("tuple[Origin, ...]", getattr(model, "unlabeled_lineage", ()))


def remember_lineage(model: nn.Module, steps: Sequence[Origin]) -> nn.Module:
    """Note on ``model`` where its weights come from; :func:`unlabeled.backbones.save` writes it down."""
    model.unlabeled_lineage = tuple(steps)  # type: ignore[assignment]
    return model
