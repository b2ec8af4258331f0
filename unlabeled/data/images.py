"""A data set as everything else sees it: rows of uint8 images, perhaps labels, and a fingerprint."""

from __future__ import annotations

import copy
import hashlib
import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import BY_TYPE, PixelRule

if TYPE_CHECKING:
    from torch import Tensor

Rows = np.ndarray[Any, np.dtype[np.int64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
MAPPED_BYTES = 256 << 20
"""Of a larger memory map the pages are let go of after each batch: a row that is touched may map 2 MiB around it."""


class BadFile(NamedTuple):
    """A file that could not be read, and why. Both are printable on one line."""

    path: str
    reason: str


class Source(Protocol):
    """Where pixels come from when they are not one array: decoded on demand."""

    shape: tuple[int, int, int, int]

    def take(self, rows: Rows, out: Pixels) -> None:
        """Write images ``rows`` into ``out`` (B, C, H, W); safe to call from several threads."""
        ...

    def bad_files(self) -> tuple[BadFile, ...]: ...


class ImageSet:
    """Images of one split of a data set, as uint8 rows ``(N, C, H, W)``.

    Args:
        name: what the data set was opened as.
        split: ``"train"`` or ``"test"``.
        pixels: uint8 array or memory map (M, C, H, W), or a :class:`Source` that decodes on demand.
        labels: class numbers (N,), -1 where an image has none, or ``None``.
        classes: the classes' names, in the order of their numbers, or ``None``.
        fingerprint: a hash of the pixels; computed from an array if not given. Labels are no part of it.
        paths: one printable path per image, or ``None``.
        bad_files: files that were left out, with the reasons.
        note: one line on how the split came about, if that is worth saying.
        rows: which rows of ``pixels`` are the images (N,); default: all of them.
        rule: what the numbers of the stored images mean, as the data set decided.
        lines: what was decided or left out, a line each.
        origin: a hash of where the images come from, which stays when images come or go (:func:`origin_of`).
    """

    def __init__(
        self,
        name: str,
        split: str,
        pixels: Pixels | Source,
        labels: Labels | None = None,
        classes: Sequence[str] | None = None,
        *,
        fingerprint: str | None = None,
        paths: Sequence[str] | None = None,
        bad_files: Sequence[BadFile] = (),
        note: str = "",
        rows: Rows | None = None,
        rule: PixelRule = BY_TYPE,
        lines: Sequence[str] = (),
        origin: str = "",
    ) -> None:
        if isinstance(pixels, np.ndarray) and (pixels.ndim != 4 or pixels.dtype != np.uint8):
            raise ValueError(f"pixels must be uint8 (N, C, H, W), not {pixels.dtype} {pixels.shape}")
        self.name, self.split, self.note = name, split, note
        self._pixels = pixels.view(np.ndarray) if isinstance(pixels, np.ndarray) else pixels
        self._rows = None if rows is None else np.ascontiguousarray(rows, dtype=np.int64)
        self.rule, self.lines, self.origin = rule, tuple(lines), origin
        self._labels = None if labels is None else np.ascontiguousarray(labels, dtype=np.int64)
        self.classes = None if classes is None else tuple(classes)
        self.paths = None if paths is None else tuple(paths)
        for what, values in (("labels", self._labels), ("paths", self.paths)):
            if values is not None and len(values) != len(self):
                raise ValueError(f"{len(values)} {what} for {len(self)} images")
        self._bad_files = tuple(bad_files)
        self._base = fingerprint or fingerprint_of(cast(Pixels, pixels))
        self._mapping = _mapping(pixels)

    @classmethod
    def from_arrays(
        cls,
        images: Pixels,
        labels: Sequence[int] | Labels | None = None,
        *,
        name: str = "array",
        split: str = "train",
        classes: Sequence[str] | None = None,
    ) -> ImageSet:
        """Wrap uint8 images ``(N, H, W)`` or ``(N, C, H, W)`` that are in memory already."""
        images = images[:, None] if images.ndim == 3 else images
        return cls(name, split, images, None if labels is None else np.asarray(labels, dtype=np.int64), classes)

    def __len__(self) -> int:
        return int(self._pixels.shape[0] if self._rows is None else len(self._rows))

    def __repr__(self) -> str:
        labelled = f"{len(self.classes)} classes" if self.classes else "labels" if self.has_labels else "no labels"
        return f"ImageSet({self.name!r}, {self.split!r}, {len(self)} images, shape {self.shape}, {labelled})"

    @property
    def labels(self) -> Labels | None:
        """Class numbers (N,); ``None`` if there are none, or if only some images have one (see :meth:`labelled`)."""
        return None if self._labels is None or (self._labels < 0).any() else self._labels

    @property
    def has_labels(self) -> bool:
        return self.labels is not None

    def labelled(self) -> ImageSet:
        """The images that have a label: this set itself, if all do or none does."""
        rows = self.labelled_rows()
        return self if len(rows) == len(self) else self.subset(rows)

    def labelled_rows(self) -> Rows:
        """The rows that :meth:`labelled` keeps."""
        if self._labels is None:
            return np.arange(len(self))
        return np.flatnonzero(self._labels >= 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every image."""
        _, channels, height, width = self._pixels.shape
        return channels, height, width

    @property
    def bad_files(self) -> tuple[BadFile, ...]:
        """Files that could not be read. They are no rows; a set decoded on demand shows them black instead."""
        return self._bad_files if isinstance(self._pixels, np.ndarray) else self._pixels.bad_files()

    @property
    def fingerprint(self) -> str:
        """A hash of the pixels and their order: equal for equal subsets of the same images."""
        if self._rows is None:
            return self._base
        return hashlib.blake2b(self._base.encode() + self._rows.tobytes(), digest_size=16).hexdigest()

    @property
    def images(self) -> Pixels:
        """All images as one array (N, C, H, W): no copy of a whole set, a copy of a subset."""
        if self._rows is None and isinstance(self._pixels, np.ndarray):
            return self._pixels
        return cast(Pixels, self.gather(np.arange(len(self))).numpy())

    def gather(self, rows: Rows) -> Tensor:
        """Return images ``rows`` (B,) as a uint8 tensor (B, C, H, W) on the CPU. Thread-safe.

        Raises:
            IndexError: a row is negative or beyond the last image.
        """
        import torch

        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of a set of {len(self)} images")
        rows = rows if self._rows is None else self._rows[rows]
        batch = torch.empty((len(rows), *self.shape), dtype=torch.uint8)
        out = batch.numpy()
        if isinstance(self._pixels, np.ndarray):
            np.take(self._pixels, rows, axis=0, out=out, mode="clip")  # in range; "raise" would buffer the output
            if self._mapping is not None:  # its pages stay in the system's cache, not in this process
                self._mapping.madvise(mmap.MADV_DONTNEED)
        else:
            self._pixels.take(rows, out)
        return batch

    def subset(self, rows: Rows) -> ImageSet:
        """Return the set of images ``rows`` in that order; its fingerprint follows from this one's and ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of a set of {len(self)} images")
        return self._like(
            _labels=None if self._labels is None else self._labels[rows],
            paths=None if self.paths is None else tuple(self.paths[row] for row in rows),
            _rows=np.ascontiguousarray(rows if self._rows is None else self._rows[rows]),
        )

    def relabelled(self, labels: Labels) -> ImageSet:
        """Return the same images with other labels (N,)."""
        if len(labels) != len(self):
            raise ValueError(f"{len(labels)} labels for {len(self)} images")
        return self._like(_labels=np.ascontiguousarray(labels, dtype=np.int64))

    def without_labels(self) -> ImageSet:
        """Return the same images with nothing that tells their labels (class names and paths go too)."""
        return self._like(_labels=None, classes=None, paths=None)

    def _like(self, **changes: Any) -> ImageSet:
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def require_labels(self, purpose: str) -> Labels:
        """Return the labels (N,).

        Raises:
            UserError: there are none; the message names ``purpose``.
        """
        if self._labels is not None and self.labels is None:
            missing = int((self._labels < 0).sum())
            raise UserError(
                f"{purpose} needs labels, and {missing} of the {len(self)} images of '{self.name}' have none."
            )
        if self.labels is None:
            raise UserError(
                f"{purpose} needs labels, and '{self.name}' ({self.split}) has none; "
                "put the images into one subfolder per class, or use a table with a 'label' column."
            )
        return self.labels

    def statistics(self, sample: int = 10_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return each channel's mean and standard deviation on the scale 0..1, over ``sample`` evenly spread images."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(sample, len(self))).astype(np.int64))
        count, total, squares = 0, np.zeros(self.shape[0]), np.zeros(self.shape[0])
        for part in np.array_split(rows, -(-len(rows) // 512)):
            # A histogram a channel is exact, and far quicker than float copies of the pixels.
            batch = self.gather(part).numpy()
            count += batch.shape[0] * batch.shape[2] * batch.shape[3]
            for channel in range(self.shape[0]):
                values = np.bincount(batch[:, channel].ravel(), minlength=256)
                total[channel] += values @ np.arange(256.0)
                squares[channel] += values @ np.arange(256.0) ** 2
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        # A constant channel gets std 1/255: normalising it must not divide by zero.
        return tuple((mean / 255).tolist()), tuple((np.maximum(std, 1.0) / 255).tolist())


def _mapping(pixels: object) -> mmap.mmap | None:
    """The large read-only memory map that an array is a view of, where pages can be let go of."""
    if not isinstance(pixels, np.ndarray) or pixels.nbytes <= MAPPED_BYTES:
        return None
    if pixels.flags.writeable or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    base: object = pixels
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def fingerprint_of(pixels: Pixels) -> str:
    """Hash shape and content of an array."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    for start in range(0, len(pixels), 4096):
        digest.update(np.ascontiguousarray(pixels[start : start + 4096]).data)
    return digest.hexdigest()
