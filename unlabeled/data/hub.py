"""Data sets of other libraries as sources: Hugging Face's on disk, and whatever timm's factory opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.core.extras import extra
from unlabeled.core.progress import progress
from unlabeled.data.files import files_identity
from unlabeled.data.images import Labels
from unlabeled.data.listing import Listing, Raw, digest, number_classes, pick_split, printable, split_rows

_IMAGE_COLUMNS = ("image", "img", "images", "pixel_values", "jpg", "png")
_LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label", "cls")


def hugging_face(name: str, split: str, held: float | None = None) -> Listing:
    """List a data set saved with ``save_to_disk``, or one of the Hub's by name where the network allows.

    Raises:
        UserError: the library is missing, nothing can be loaded, or there is no column of images.
    """
    datasets: Any = extra("datasets", "datasets", f"the data set {printable(name)}")
    shown, folder = printable(name), Path(name)
    try:
        loaded: Any = datasets.load_from_disk(str(folder)) if folder.is_dir() else datasets.load_dataset(name)
    except Exception as error:
        reason = printable(str(error).split("\n")[0])[:200]
        raise UserError(
            f"the data set {shown} cannot be loaded ({reason}); give a folder made by save_to_disk."
        ) from error
    chosen, halve, only_train = loaded, True, False
    if isinstance(loaded, dict):
        train, test = pick_split([*loaded], "train"), pick_split([*loaded], "test")
        key = test if split == "test" and test else train
        if key is None:
            raise UserError(f"{shown} has no split '{split}' (it has: {', '.join(map(printable, loaded))}).")
        chosen, halve, only_train = loaded[key], test is None, test is None
    return _from_table(chosen, split, shown, halve, held, only_train)


def _from_table(table: Any, split: str, shown: str, halve: bool, held: float | None, only_train: bool) -> Listing:
    import datasets

    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    image = image or next((name for name in _IMAGE_COLUMNS if name in kinds), None)
    if image is None:
        raise UserError(f"{shown} has no column of images (it has: {', '.join(map(printable, kinds))}).")
    if kinds[image] == "Image":
        table = table.cast_column(image, datasets.Image(decode=False))
    labels, classes = _table_labels(table, kinds)
    rows, note = None, ""
    if halve:
        rows, note = split_rows(len(table), labels, split, shown, held=held, only_train=only_train)
    cells = table.select_columns([image])

    def read(row: int) -> Raw:
        cell = cells[row][image]
        if isinstance(cell, dict):
            return cell["bytes"] or Path(cell["path"])
        return cell if isinstance(cell, bytes) else np.asarray(cell)

    files = [str(entry["filename"]) for entry in table.cache_files]
    identity = digest(files_identity(Path.cwd(), files), len(table), image, table._fingerprint if not files else "")
    names = [f"{shown} row {row}" for row in range(len(table))]
    return Listing(read, names, identity, labels, classes, rows=rows, note=note)


def _table_labels(table: Any, kinds: dict[str, str]) -> tuple[Labels | None, tuple[str, ...] | None]:
    column = next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    column = column or next((name for name in _LABEL_COLUMNS if name in kinds), None)
    if column is None:
        return None, None
    values = list(table[column])
    if any(value is None or isinstance(value, (list, dict, float)) for value in values):
        return None, None
    names = getattr(table.features[column], "names", None)
    if names is None:
        return number_classes([str(value) for value in values])
    # The Hub marks withheld labels with -1.
    return (None, None) if -1 in values else (np.array(values, dtype=np.int64), tuple(map(printable, names)))


def through_timm(name: str, split: str, data_dir: Path | None) -> Listing:
    """List a data set that ``timm.data.create_dataset`` opens, such as ``torch/qmnist``.

    Raises:
        UserError: timm cannot open it, or it is a stream, whose images have no numbers.
    """
    from timm.data.dataset_factory import create_dataset

    try:
        dataset: Any = create_dataset(
            name, root=None if data_dir is None else str(data_dir), split="validation" if split == "test" else "train",
            download=data_dir is not None,
        )  # fmt: skip
        total = len(dataset)
        dataset[0]
    except Exception as error:
        reason = printable(str(error).split("\n")[0])[:200] or type(error).__name__
        raise UserError(
            f"timm cannot open '{name}' as a data set of numbered images ({reason}); check the name and --data-dir, or "
            "save the images to a folder."
        ) from error
    labels = _timm_labels(dataset, total)
    probe = [np.asarray(_pixels(dataset[row])).tobytes() for row in (0, total // 2, total - 1)]
    identity = digest("timm", name, split, str(data_dir), total, *probe)
    names = [f"{name} {row}" for row in range(total)]
    classes: Sequence[Any] | None = getattr(dataset, "classes", None)
    return Listing(
        read=lambda i: _pixels(dataset[i]),
        names=names,
        identity=identity,
        labels=labels,
        classes=None if labels is None or not classes else tuple(printable(str(c)) for c in classes),
        quick=False,
    )


def _pixels(item: Any) -> Image.Image | np.ndarray[Any, np.dtype[Any]]:
    return item[0] if isinstance(item[0], Image.Image) else np.asarray(item[0])


def _timm_labels(dataset: Any, total: int) -> Labels | None:
    for name in ("targets", "labels", "_labels"):
        found = getattr(dataset, name, None)
        if found is not None and len(found) == total:
            return np.asarray(found, dtype=np.int64)
    found = []
    with progress("labels", total) as tick:
        for row in range(total):
            found.append(dataset[row][1])
            tick()
    numbers = np.asarray(found)
    return numbers.astype(np.int64) if numbers.dtype.kind in "iu" and numbers.ndim == 1 else None
