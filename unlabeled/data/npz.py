"""A numpy archive (.npz) as a source. Pickled arrays are never loaded."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import Array, DecodeError
from unlabeled.data.images import Labels
from unlabeled.data.listing import Listing, digest, from_array, pick_split, printable, split_rows

_IMAGE_KEYS = ("images", "image", "x", "X", "data", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "Y", "targets", "target")
_PART = re.compile(r"(?:x|X|images)_(\w+)|(\w+)_(?:images|x|X)")
_LABEL_PART = re.compile(r"(?:y|Y|labels)_\w+|\w+_(?:labels|y|Y)")
_WANTED = re.compile("|".join((*_IMAGE_KEYS, *_LABEL_KEYS, "classes", _PART.pattern, _LABEL_PART.pattern)))


def npz(file: Path, split: str, held: float | None = None) -> Listing:
    """List the arrays ``x_train`` and ``x_test`` (``train_images``, …), or ``images``, which is split 80/20.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W).

    Raises:
        UserError: the file is missing, damaged, too large for the memory, or holds no images.
    """
    shown = printable(file)
    if not file.is_file():
        raise UserError(f"there is no file {shown}; check the path.")
    try:
        with zipfile.ZipFile(file) as members:
            needed = sum(member.file_size for member in members.infolist())
        if needed > _memory():
            raise UserError(f"{shown} unpacks to {needed / 1e9:.0f} GB, more than this machine's memory.")
        with np.load(file, allow_pickle=False) as archive:
            # What is not asked for is not read: a pickle among a file's notes does not spoil its images.
            return _list({key: archive[key] for key in archive.files if _WANTED.fullmatch(key)}, split, shown, held)
    except UserError:
        raise
    except Exception as error:  # zipfile, its decompressors and numpy's parser of headers raise a dozen kinds
        reason = "it holds Python objects, which could run code" if "allow_pickle" in str(error) else str(error)
        raise UserError(f"{shown} cannot be read as a numpy archive ({printable(reason)[:200]}).") from error


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 1 << 62


def _list(arrays: Mapping[str, Array], split: str, shown: str, held: float | None) -> Listing:
    parts = {part: key for key in arrays if (part := _part(key))}
    train, test = pick_split([*parts], "train"), pick_split([*parts], "test")
    halve, key = not (train and test), None
    if train and test:
        wanted = test if split == "test" else train
        images, labels = arrays[parts[wanted]], _labels_of(arrays, wanted)
        others = [found for part in (train, test) if (found := _labels_of(arrays, part)) is not None]
    else:
        key = next((key for key in _IMAGE_KEYS if key in arrays), parts[train] if train else None)
        if key is None:
            raise UserError(f"{shown} has no array 'images', 'x' or 'x_train'; save one under such a name.")
        beside = next((arrays[key] for key in _LABEL_KEYS if key in arrays), None)
        images, labels = arrays[key], _labels_of(arrays, train) if beside is None and train else beside
        others = [] if labels is None else [labels]
    pixels = _pixels(images)
    numbers, classes, why = None, None, ""
    if labels is not None:
        why = _no_labels([labels, *others])
        numbers, classes = (None, None) if why else _numbered(labels, others, arrays.get("classes"))
    if numbers is not None and len(numbers) != len(pixels):
        raise UserError(f"{shown} has {len(pixels)} images but {len(numbers)} labels.")
    lines = (f"{why}: the images of {shown} are used without labels",) if why else ()
    rows, note = None, ""
    if halve:
        rows, note = split_rows(len(pixels), numbers, split, shown, held=held, only_train=key == parts.get(train or ""))
    if pixels.dtype == np.uint8:
        upright = pixels.shape[-1] == 1 and images.ndim == 3
        return from_array(pixels, numbers, classes, rows=rows, note=note, upright=upright, lines=lines)
    names = [f"image {row}" for row in range(len(pixels))]
    content = from_array(np.ascontiguousarray(pixels).view(np.uint8), None).identity
    identity = digest("npz", pixels.shape, pixels.dtype.str, content)
    flat = images.ndim == 3
    return Listing(
        lambda i: pixels[i, ..., 0] if flat else pixels[i],
        names, identity, numbers, classes, rows=rows, note=note, lines=lines,
    )  # fmt: skip


def _part(key: str) -> str | None:
    """Return ``train`` for ``x_train`` or ``train_images``, ``None`` for a key that names no images of a split."""
    match = _PART.fullmatch(key)
    return match and (match[1] or match[2])


def _labels_of(arrays: Mapping[str, Array], part: str) -> Array | None:
    keys = (f"y_{part}", f"Y_{part}", f"labels_{part}", f"{part}_labels", f"{part}_y", f"{part}_Y")
    return next((arrays[key] for key in keys if key in arrays), None)


def _pixels(images: Array) -> Array:
    """Return (N, H, W, 1) of (N, H, W), or four axes as they are: the data set's rule says which are the channels."""
    if not isinstance(images, np.ndarray):  # numpy hands out members that are no arrays as bytes
        raise DecodeError("it holds members that are no arrays")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise DecodeError(f"its images have the shape {images.shape}, not (N, H, W) or (N, H, W, C)")
    if images.dtype == np.bool_:
        return np.where(images, 255, 0).astype(np.uint8)
    if images.dtype.kind not in "iuf":
        raise DecodeError(f"values of type {images.dtype} are no pixels")
    return images


def _no_labels(labels: Sequence[Array]) -> str:
    """Why these are no labels, or nothing if each image has one whole number or text."""
    for found in map(np.atleast_1d, labels):
        if found.size != len(found):
            return f"its labels are {found.size // max(len(found), 1)} per image"
        if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found == np.rint(found)).all()):
            return "its labels are no whole numbers"
        if found.dtype.kind not in "iuUSbf":
            return f"its labels are of type {found.dtype}"
    return ""


def _numbered(labels: Array, others: list[Array], names: Array | None) -> tuple[Labels, tuple[str, ...]]:
    """Number labels by the distinct values of all splits, or keep them where ``names`` says what they mean."""
    every = [np.atleast_1d(found).reshape(-1) for found in (labels, *others)]
    every = [found.astype(np.int64) if found.dtype.kind == "f" else found for found in every]
    labels, distinct = every[0], np.unique(np.concatenate(every))
    named = 0 if names is None else len(np.atleast_1d(names))
    if names is not None and distinct.dtype.kind in "iu" and all(0 <= number < named for number in distinct):
        return labels.astype(np.int64), tuple(printable(str(name)) for name in np.atleast_1d(names))
    numbers = np.searchsorted(distinct, labels).astype(np.int64)
    return numbers, tuple(printable(str(value)) for value in distinct.tolist())
