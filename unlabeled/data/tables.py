"""A CSV or Parquet file as a source: a column of paths (or, in Parquet, of image files' bytes), labels, splits."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.extras import extra
from unlabeled.data.files import files_identity
from unlabeled.data.images import Labels, Rows
from unlabeled.data.listing import Listing, digest, number_classes, pick_split, printable, split_rows

_PATH_COLUMNS = ("path", "file", "filename", "image", "filepath", "file_name", "image_path")
_LABEL_COLUMNS = ("label", "class", "target")

Columns = dict[str, list[Any]]


def table(file: Path, split: str, held: float | None = None, label: str | None = None) -> Listing:
    """List the images that a table names, relative to its own folder. Empty labels are images without one.

    Args:
        file: CSV, TSV or Parquet.
        split, held: see :func:`~unlabeled.data.listing.split_rows`; a column ``split`` is obeyed.
        label: the column of labels; default: ``label``, ``class`` or ``target``.

    Raises:
        UserError: the file is missing or damaged, lacks a column of paths, that of the labels, or the split.
    """
    shown = printable(file)
    columns, path = _read(file)
    labels, classes, lines = _labels(columns, shown, label, path)
    keep, halve, only_train = _split(columns, split, shown)
    labels = None if labels is None else labels[keep]
    cells = [columns[path][row] for row in keep.tolist()]
    # Hugging Face keeps images in Parquet as {"bytes": …, "path": …}.
    cells = [(cell.get("bytes") or cell.get("path")) if isinstance(cell, dict) else cell for cell in cells]
    inside = any(isinstance(cell, bytes) for cell in cells)
    place = f"table {file.resolve()} {'all' if halve else split}"
    files = None if inside else ["" if cell is None else str(cell) for cell in cells]
    rows, note = None, ""
    if halve:
        rows, note = split_rows(len(keep), labels, split, shown, files, held=held, only_train=only_train)
    if files is None:
        data = [cell if isinstance(cell, bytes) else b"" for cell in cells]
        names = [f"{shown} row {row + 1}" for row in keep.tolist()]
        identity = digest(files_identity(file.parent, [file.name]), keep.tobytes())
        return Listing(
            data.__getitem__, names, identity, labels, classes, rows=rows, note=note, place=place, lines=lines
        )
    return Listing(
        read=lambda i: Path(file.parent, files[i]),
        names=[_path(file, name) for name in files],
        identity=files_identity(file.parent, files),
        labels=labels,
        classes=classes,
        paths=True,
        rows=rows,
        place=place,
        lines=lines,
        note=note,
    )


def paths_where(file: Path, column: str, value: str) -> list[str]:
    """The images' paths, as :func:`table` names them, of all rows that have ``value`` in ``column``; of every split.

    Raises:
        UserError: there is no such column, no such value, or the images lie in the table itself and have no paths.
    """
    columns, path = _read(file)
    name = _column(columns, (column.strip().lower(),))
    if name is None:
        raise UserError(f"{printable(file)} has no column '{printable(column)}' (it has: {_names(columns)}).")
    cells = [str(cell).strip() for cell in columns[name]]
    rows = [row for row, cell in enumerate(cells) if cell == value.strip()]
    if not rows:
        known = nearest(value.strip(), sorted(set(cells))[:5000])
        raise UserError(f"no row of {printable(file)} has '{printable(value)}' in the column '{name}'.{known}")
    if not all(isinstance(columns[path][row], str) for row in rows):
        raise UserError(f"{printable(file)} holds the images themselves, not paths; use --forget indices:FILE.")
    return [_path(file, columns[path][row]) for row in rows]


def _path(file: Path, name: str) -> str:
    return printable(os.path.join(file.parent, name))  # noqa: PTH118 (as in files.py)


def _names(columns: Columns) -> str:
    return ", ".join(map(printable, columns)) or "no columns"


def _read(file: Path) -> tuple[Columns, str]:
    """The columns of a table, and the name of that of the paths."""
    shown = printable(file)
    if not file.is_file():
        raise UserError(f"there is no file {shown}; check the path.")
    try:
        columns = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{shown} cannot be read as a table ({printable(str(error))[:200]}).") from error
    path = _column(columns, _PATH_COLUMNS)
    if path is None:
        raise UserError(f"{shown} has no column of paths: name one of its columns 'path' (it has: {_names(columns)}).")
    if not columns[path]:
        raise UserError(f"{shown} has no rows; fill it, or point data at another table.")
    return columns, path


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
    parquet: Any = extra("pyarrow.parquet", "tables", "reading Parquet")
    columns: Columns = parquet.read_table(file).to_pydict()
    return columns


def _column(columns: Columns, wanted: Sequence[str]) -> str | None:
    lower = {name.strip().lower(): name for name in columns}
    return next((lower[name] for name in wanted if name in lower), None)


def _split(columns: Columns, split: str, shown: str) -> tuple[Rows, bool, bool]:
    """Return the rows that hold ``split``, whether there are no test rows, and whether the rest is called training."""
    column = _column(columns, ("split",))
    if column is None:
        return np.arange(len(next(iter(columns.values())))), True, False
    values = [str(value).strip() for value in columns[column]]
    distinct = sorted(set(values))
    train, test = pick_split(distinct, "train"), pick_split(distinct, "test")
    chosen = test if split == "test" and test is not None else train
    if chosen is None:
        has = ", ".join(map(printable, distinct[:8]))
        raise UserError(f"no row of {shown} belongs to the split '{split}'; its column 'split' says: {has}.")
    return np.flatnonzero(np.array(values) == chosen), test is None, test is None


def _labels(
    columns: Columns, shown: str, wanted: str | None, path: str
) -> tuple[Labels | None, tuple[str, ...] | None, tuple[str, ...]]:
    """Return the labels (-1: none), their names, and a line on what may surprise."""
    column = _column(columns, _LABEL_COLUMNS) if wanted is None else _column(columns, (wanted.strip().lower(),))
    has = _names(columns)
    if column is None and wanted is not None:
        raise UserError(f"{shown} has no column '{printable(wanted)}' (it has: {has}); name one with data.label.")
    if column is None:
        others = [name for name in columns if name != path and name.strip().lower() != "split"]
        line = f"{shown} has the columns {has}; none is called label, class or target: data.label=NAME chooses one"
        return None, None, (line,) if others else ()
    texts = ["" if value is None or value != value else str(value).strip() for value in columns[column]]
    known = np.array([text != "" for text in texts])
    numbers, names = number_classes([text for text in texts if text])
    labels = np.full(len(texts), -1, dtype=np.int64)
    labels[known] = numbers
    empty = len(texts) - int(known.sum())
    if empty == len(texts):
        return None, None, (f"the column '{printable(column)}' of {shown} is empty: its images have no labels",)
    line = f"{empty:,} of {len(texts):,} rows of {shown} have no label (column '{printable(column)}')"
    return labels, tuple(map(printable, names)), (line,) if empty else ()
