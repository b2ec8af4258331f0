"""Which class an image is of, by a classifier that was trained: one line an image, or none where it is unsure."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, atomic_write_text, expect_file
from unlabeled.core.progress import progress, say
from unlabeled.data import ImageSet
from unlabeled.data.images import BadFile
from unlabeled.data.loose import image_paths, open_files, paths_in
from unlabeled.report.notebook import html_table
from unlabeled.runs.image_classifier import ImageClassifier, open_classifier

SCHEMA = "unlabeled.predict/1"
COLUMNS = ("path", "class", "probability", "abstained", "likeliest", "unreadable")
BATCH = 256
SHOWN = 20
"""Images that a notebook shows."""


@dataclass(frozen=True)
class Predictions:
    """The likeliest class of each of N images.

    Attributes:
        paths: of the images.
        classes: the names of all K classes.
        likeliest: ``(N,)`` numbers of the likeliest classes.
        probability: ``(N,)`` what the classifier gives them, in [0, 1].
        threshold: an image whose probability is less has no class.
        unreadable: files that are no rows, and why.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    likeliest: np.ndarray[Any, np.dtype[np.int64]]
    probability: np.ndarray[Any, np.dtype[np.float32]]
    threshold: float = 0.0
    unreadable: tuple[BadFile, ...] = ()

    @property
    def labels(self) -> list[str | None]:
        """The class of each image by name; ``None`` where the classifier abstains."""
        named = zip(self.likeliest.tolist(), self.abstained.tolist(), strict=True)
        return [None if unsure else self.classes[number] for number, unsure in named]

    @property
    def abstained(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(N,)`` whether the probability lies below the threshold."""
        return self.probability < self.threshold

    def rows(self) -> list[dict[str, Any]]:
        """One mapping an image: ``path``, ``class``, ``probability``, ``abstained``, ``likeliest``."""
        columns = (self.paths, self.labels, self.probability.tolist(), self.abstained.tolist(), self.likeliest.tolist())
        return [
            {"path": path, "class": label, "probability": p, "abstained": unsure, "likeliest": self.classes[number]}
            for path, label, p, unsure, number in zip(*columns, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        counts = Counter(label for label in self.labels if label is not None).most_common(5)
        parts = [f"{count} {name}" for name, count in counts]
        parts += [f"{n} abstained"] if (n := int(self.abstained.sum())) else []
        parts += [f"{len(self.unreadable)} unreadable"] if self.unreadable else []
        return f"Predictions({len(self)} images: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        first = self.rows()[:SHOWN]
        rows = [[row["path"], row["class"] or "–", f"{row['probability']:.3f}"] for row in first]
        more = f", the first {SHOWN}" if len(self) > SHOWN else ""
        return html_table(["path", "class", "probability"], rows, f"{len(self):,} images{more}")


def predict(
    model: str | Path | ImageClassifier, images: Any, *, threshold: float = 0.0, batch_size: int = BATCH
) -> Predictions:
    """Classify images with a run that was fine-tuned, or with any timm network that has a classifier.

    ``predict("runs/mine", "photos", threshold=0.8).rows()``

    Args:
        model: a run with a classifier, ``local-dir:PATH``, ``timm:NAME`` or ``hf-hub:ID``.
        images: a folder (all images below it), a file, a list of these, or what :meth:`Backbone.embed` takes.
        threshold: below this probability the classifier abstains. Probabilities of networks tend to be too high:
            choose it on images whose class is known.
        batch_size: how many images are computed at once.

    Raises:
        UserError: no such model or images, no classifier, or a threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"the threshold is a probability between 0 and 1, not {threshold:g}.")
    classifier = model if isinstance(model, ImageClassifier) else open_classifier(model)
    paths = [str(images)] if isinstance(images, str | Path) else paths_in(images)
    if paths is None:
        probability, likeliest = classifier.probabilities(images, batch_size).max(1)
        names = tuple(f"image {row}" for row in range(len(likeliest)))
        return Predictions(names, classifier.classes, likeliest.numpy(), probability.numpy(), threshold)
    backbone = classifier.backbone
    data = open_files(image_paths(*paths), size=backbone.image_size, channels=backbone.in_chans, rule=backbone.rule)
    probability, likeliest = _of_files(classifier, data, batch_size)
    unreadable = data.bad_files
    for bad in unreadable:
        say(f"cannot be read: {bad.path} ({bad.reason})")
    lost = {bad.path for bad in unreadable}
    names = data.paths or ()
    readable = np.array([path not in lost for path in names], dtype=bool)
    kept = tuple(path for path in names if path not in lost)
    return Predictions(kept, classifier.classes, likeliest[readable], probability[readable], threshold, unreadable)


def _of_files(classifier: ImageClassifier, data: ImageSet, batch_size: int) -> tuple[Any, Any]:
    """``(N,)`` probabilities of the likeliest classes, and ``(N,)`` numbers of these."""
    found = []
    with progress("predict", len(data), unit="img") as tick:
        for start in range(0, len(data), batch_size):
            rows = np.arange(start, min(start + batch_size, len(data)))
            found.append(classifier.probabilities(data.gather(rows), batch_size).max(1))
            tick(len(rows))
    return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))  # type: ignore[return-value]


def as_csv(found: Predictions) -> str:
    """A line an image with :data:`COLUMNS`; no class where the classifier abstains or the file cannot be read."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in found.rows():
        unsure = str(row["abstained"]).lower()
        table.writerow([row["path"], row["class"] or "", f"{row['probability']:.6f}", unsure, row["likeliest"], ""])
    table.writerows([bad.path, "", "", "", "", bad.reason] for bad in found.unreadable)
    return text.getvalue()


def expect_predictions(path: Path) -> None:
    """See that predictions can be written there, before any is made.

    Raises:
        UserError: the ending is neither ``.csv`` nor ``.json``, or the file cannot be written.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"{path}: predictions are written as .csv or .json; choose one of these endings.")
    expect_file(path, "predictions.csv")


def write_predictions(found: Predictions, path: str | Path) -> None:
    """Write a ``.csv`` or a ``.json`` file: ``{schema, threshold, classes, images: [row], unreadable}``.

    Raises:
        UserError: another ending, or the file cannot be written.
    """
    path = Path(path)
    expect_predictions(path)
    if path.suffix.lower() == ".csv":
        atomic_write_text(path, as_csv(found))
        return
    about = {"schema": SCHEMA, "threshold": found.threshold, "classes": list(found.classes)}
    atomic_write_json(path, {**about, "images": found.rows(), "unreadable": [b._asdict() for b in found.unreadable]})
