"""A CSV or Parquet file as a source: a column of paths (or, in Parquet, of image files' bytes), labels, splits."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.files import files_identity
from unlabeled.data.images import Labels, Rows
from unlabeled.data.listing import Listing, digest, number_classes, pick_split, printable, split_rows

_PATH_COLUMNS = ("path", "file", "filename", "image", "filepath", "file_name", "image_path")
_LABEL_COLUMNS = ("label", "class", "target")

Columns = dict[str, list[Any]]


def table(file: Path, split: str) -> Listing:
    """List the images that a table names, relative to its own folder.

    Raises:
        UserError: the file is missing or damaged, lacks a column of paths, a label, or the split.
    """
    shown = printable(file)
    if not file.is_file():
        raise UserError(f"there is no file {shown}; check the path.")
    try:
        columns = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{shown} cannot be read as a table ({printable(str(error))[:200]}).") from error
    path = _column(columns, _PATH_COLUMNS)
    if path is None:
        has = ", ".join(map(printable, columns)) or "no columns"
        raise UserError(f"{shown} has no column of paths: name one of its columns 'path' (it has: {has}).")
    if not columns[path]:
        raise UserError(f"{shown} has no rows; fill it, or point data at another table.")
    labels, classes = _labels(columns, shown)
    keep, halve = _split(columns, split, shown)
    labels = None if labels is None else labels[keep]
    cells = [columns[path][row] for row in keep.tolist()]
    # Hugging Face keeps images in Parquet as {"bytes": …, "path": …}.
    cells = [(cell.get("bytes") or cell.get("path")) if isinstance(cell, dict) else cell for cell in cells]
    inside = any(isinstance(cell, bytes) for cell in cells)
    files = None if inside else ["" if cell is None else str(cell) for cell in cells]
    rows, note = split_rows(len(keep), labels, split, shown, files) if halve else (None, "")
    if files is None:
        held = [cell if isinstance(cell, bytes) else b"" for cell in cells]
        names = [f"{shown} row {row + 1}" for row in keep.tolist()]
        identity = digest(files_identity(file.parent, [file.name]), keep.tobytes())
        return Listing(held.__getitem__, names, identity, labels, classes, rows=rows, note=note)
    return Listing(
        read=lambda i: Path(file.parent, files[i]),
        names=[printable(os.path.join(file.parent, name)) for name in files],  # noqa: PTH118 (as in files.py)
        identity=files_identity(file.parent, files),
        labels=labels,
        classes=classes,
        paths=True,
        rows=rows,
        note=note,
    )


def _csv(file: Path) -> Columns:
    with file.open(newline="", encoding="utf-8-sig") as handle:
        header = handle.readline()
        handle.seek(0)
        delimiter = max((",", ";", "\t"), key=header.count)
        reader = csv.reader(handle, delimiter=delimiter)
        names = next(reader, [])
        columns: Columns = {name: [] for name in names}
        for line in filter(None, reader):
            if len(line) != len(names):
                raise ValueError(f"line {reader.line_num} has {len(line)} fields, the header {len(names)}")
            for name, value in zip(names, line, strict=True):
                columns[name].append(value)
    if len(columns) != len(names):
        raise ValueError("two columns have the same name")
    return columns


def _parquet(file: Path) -> Columns:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError("reading Parquet needs pyarrow: pip install 'unlabeled[tables]'.") from error
    columns: Columns = parquet.read_table(file).to_pydict()
    return columns


def _column(columns: Columns, wanted: Sequence[str]) -> str | None:
    lower = {name.strip().lower(): name for name in columns}
    return next((lower[name] for name in wanted if name in lower), None)


def _split(columns: Columns, split: str, shown: str) -> tuple[Rows, bool]:
    """Return the rows that hold ``split``, and whether they must be split first for want of test rows."""
    column = _column(columns, ("split",))
    if column is None:
        return np.arange(len(next(iter(columns.values())))), True
    values = [str(value).strip() for value in columns[column]]
    distinct = sorted(set(values))
    train, test = pick_split(distinct, "train"), pick_split(distinct, "test")
    chosen = test if split == "test" and test is not None else train
    if chosen is None:
        has = ", ".join(map(printable, distinct[:8]))
        raise UserError(f"no row of {shown} belongs to the split '{split}'; its column 'split' says: {has}.")
    return np.flatnonzero(np.array(values) == chosen), test is None


def _labels(columns: Columns, shown: str) -> tuple[Labels | None, tuple[str, ...] | None]:
    column = _column(columns, _LABEL_COLUMNS)
    if column is None:
        return None, None
    texts = ["" if value is None else str(value).strip() for value in columns[column]]
    if "" in texts:
        raise UserError(
            f"row {texts.index('') + 1} of {shown} has no label; fill the column '{printable(column)}', or rename it "
            "to use the images without labels."
        )
    labels, names = number_classes(texts)
    return labels, tuple(map(printable, names))
