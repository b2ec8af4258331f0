"""Pictures of forgetting: accuracy class by class, attack scores, and where the images lie in the embedding."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unlabeled.core import files

Array = np.ndarray[Any, Any]
COLOURS = ("#4c72b0", "#55a868", "#c44e52", "#8172b3", "#ccb974", "#64b5cd", "#8c8c8c", "#da8bc3")


def class_accuracy_figure(
    accuracy: Mapping[str, Sequence[float]], classes: Sequence[str] | None = None, forgotten: Sequence[int] = ()
) -> Figure:
    """Test accuracy of each class, one group of bars a class, one bar a model.

    Args:
        accuracy: ``K`` fractions by model name, in the order to draw.
        classes: names of the ``K`` classes.
        forgotten: classes whose names are set in red.
    """
    count = max(map(len, accuracy.values()))
    names = list(classes) if classes else [str(i) for i in range(count)]
    figure = Figure(figsize=(max(6, 0.8 * count), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(accuracy)
    for place, (name, values) in enumerate(accuracy.items()):
        left = np.arange(len(values)) + (place - (len(accuracy) - 1) / 2) * width
        axes.bar(left, 100 * np.nan_to_num(np.asarray(values)), width, label=name, color=COLOURS[place % len(COLOURS)])
    axes.set_xticks(range(count), names, rotation=30 if max(map(len, names)) > 3 else 0)
    for position in forgotten:
        axes.get_xticklabels()[position].set_color("#c44e52")
    axes.set_ylabel("test accuracy, %")
    axes.set_ylim(0, 100)
    axes.legend(ncols=min(len(accuracy), 6), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


def attack_figure(scores: Mapping[str, Array]) -> Figure:
    """Histograms of P(member) that an attacker gives the forget images, one line a model.

    The closer a line to the retrained model's, the less the attacker learns; a line far left of it means that the
    forget images look like nothing the model ever met: over-forgetting.

    Args:
        scores: ``(N,)`` scores in [0, 1] by model name.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    for place, (name, values) in enumerate(scores.items()):
        axes.hist(
            values, bins, density=True, histtype="step", linewidth=1.8, label=name, color=COLOURS[place % len(COLOURS)]
        )
    axes.axvline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("P(member) of the images to forget")
    axes.set_ylabel("density")
    axes.legend(frameon=False)
    return figure


def embedding_figure(embeddings: Mapping[str, tuple[Array, Array]]) -> Figure:
    """The first two principal components of each model's embedding, retain and forget images apart.

    Args:
        embeddings: ``(N, D)`` retain and ``(M, D)`` forget embeddings by model name.
    """
    figure = Figure(figsize=(3.4 * len(embeddings), 3.4), layout="constrained")
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for axes, (name, (retain, forget)) in zip(panels, embeddings.items(), strict=True):
        kept, gone = plane(retain, forget)
        axes.scatter(*kept.T, s=5, color="#b0b0b0", label="retain")
        axes.scatter(*gone.T, s=5, color="#c44e52", label="forget")
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].legend(frameon=False, markerscale=2)
    return figure


def plane(retain: Array, forget: Array) -> tuple[Array, Array]:
    """Project both on the first two principal components of both; the largest loading of each is made positive, so
    that the same embedding always gives the same picture.
    """
    both = np.concatenate([retain, forget]).astype(np.float64)
    centred = both - both.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.concatenate([axes[:2], np.zeros((2 - min(2, len(axes)), both.shape[1]))])
    strongest = axes[np.arange(2), np.abs(axes).argmax(1)]
    flat = centred @ (axes * np.where(strongest < 0, -1, 1)[:, None]).T
    return flat[: len(retain)], flat[len(retain) :]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    files.atomic_write(path, lambda handle: handle.write(buffer.getvalue()))


def save_pictures(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    classes: Sequence[str] | None = None,
    forgotten: Sequence[int] = (),
) -> list[Path]:
    """Draw what there is to draw of a protocol's rows and return the files written.

    Args:
        folder: where the pictures go.
        rows: rows as dictionaries: ``method``, ``class_accuracy`` and ``folder`` (which holds ``arrays.npz``).
        classes: class names.
        forgotten: the classes removed.
    """
    written: list[Path] = []

    def keep(figure: Figure, name: str) -> None:
        save_figure(figure, folder / name)
        written.append(folder / name)

    accuracy = {row["method"]: row["class_accuracy"] for row in rows if row["class_accuracy"]}
    if accuracy:
        keep(class_accuracy_figure(accuracy, classes, forgotten), "class_accuracy.png")
    scores: dict[str, Array] = {}
    embeddings: dict[str, tuple[Array, Array]] = {}
    for row in rows:
        with np.load(Path(row["folder"]) / "arrays.npz", allow_pickle=False) as arrays:
            name = "members_outputs" if "members_outputs" in arrays else "members_features"
            scores[row["method"]] = arrays[name]
            embeddings[row["method"]] = (arrays["embedding_retain"], arrays["embedding_forget"])
    if scores:
        keep(attack_figure(scores), "attack_scores.png")
        keep(embedding_figure(embeddings), "embedding.png")
    return written
