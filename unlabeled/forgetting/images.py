"""Images as forgetting sees them: with labels, or so that no label can be had from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.device import send, taken
from unlabeled.core.errors import UserError
from unlabeled.core.model_input import normalised, sized
from unlabeled.data import prints

Rows = np.ndarray[Any, np.dtype[np.int64]]
Key = tuple[int | str, ...]


class Pixels(prints.Pixels, Protocol):
    """Rows of uint8 images that can be told from others; an ``ImageSet`` is one."""

    @property
    def fingerprint(self) -> str: ...


class PixelArray:
    """uint8 ``(N, C, H, W)`` pixels in memory or memory-mapped.

    Raises:
        UserError: wrong dtype or shape.
    """

    def __init__(self, pixels: np.ndarray[Any, Any] | Tensor) -> None:
        array = torch.as_tensor(pixels)
        if array.dtype != torch.uint8 or array.ndim != 4:
            raise UserError(f"images must be uint8 (N, C, H, W), not {array.dtype} {tuple(array.shape)}.")
        self._pixels = array
        self.fingerprint = hashlib.blake2b(array.contiguous().numpy().tobytes(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self._pixels)

    def gather(self, rows: Rows) -> Tensor:
        return self._pixels[torch.from_numpy(rows)]


@dataclass(frozen=True)
class Preprocess:
    """From stored pixels to a model's input: ``(pixels / 255 - mean) / std``, after resizing to ``size``."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: int | None = None
    channels: int | None = None

    def __call__(self, pixels: Tensor, device: torch.device | str | None = None) -> Tensor:
        """``(B, C, H, W)`` uint8 to float32, on ``device`` (default: where the pixels are)."""
        images = send(sized(pixels, self.size, self.channels), device or pixels.device)
        mean, std = (send(torch.tensor(values), images.device) for values in (self.mean, self.std))
        return normalised(images, mean, std)


class UnlabelledImages:
    """Normalised batches of images. It holds no label, and nothing it holds does.

    Args:
        pixels: the stored images; an ``ImageSet`` is stripped of its labels first.
        preprocess: what the model expects.
        rows: which stored images, default all.
    """

    def __init__(self, pixels: Pixels, preprocess: Preprocess | None = None, rows: Rows | None = None) -> None:
        strip = getattr(pixels, "without_labels", None)
        self._pixels: Pixels = strip() if strip is not None else pixels
        self.preprocess = preprocess or Preprocess()
        self.rows: Rows = np.arange(len(pixels), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def store(self) -> str:
        """Fingerprint of the stored images, of which ``rows`` are these."""
        return self._pixels.fingerprint

    @property
    def fingerprint(self) -> str:
        """Hash of the store's content, the rows and the preprocessing."""
        digest = hashlib.blake2b(f"{self._pixels.fingerprint}:{self.preprocess}".encode(), digest_size=16)
        digest.update(self.rows.tobytes())
        return digest.hexdigest()

    def image_fingerprints(self) -> list[str]:
        """A hash of each image's stored pixels, in order: what a deletion record names."""
        return prints.pixel_prints(self._pixels, self.rows)

    def batch(self, positions: Rows, device: torch.device | str = "cpu") -> Tensor:
        """Normalised float32 ``(B, C, H, W)`` of the images at ``positions`` (of this object, not of the store)."""
        return self.preprocess(self._pixels.gather(self.rows[positions]), device)

    def pixels(self, positions: Rows, device: torch.device | str = "cpu") -> Tensor:
        """The same images as they are stored, uint8."""
        return send(self._pixels.gather(self.rows[positions]), device)

    def subset(self, positions: Rows) -> UnlabelledImages:
        """The images at ``positions``."""
        return UnlabelledImages(self._pixels, self.preprocess, self.rows[positions])

    def with_label(self, label: int) -> LabelledImages:
        """The same images, every one of them labelled ``label``."""
        return LabelledImages(self._pixels, torch.full((len(self._pixels),), label), self.preprocess, self.rows)

    def without_labels(self) -> UnlabelledImages:
        """The same images with no way back to labels."""
        return UnlabelledImages(self._pixels, self.preprocess, self.rows)

    def positions(self, batch_size: int, key: Key | None = None, drop_last: bool = False) -> Iterator[Rows]:
        """Positions batch by batch: in order, or shuffled as a pure function of ``key``."""
        count = len(self)
        order = np.arange(count, dtype=np.int64) if key is None else rng.numpy_generator(*key).permutation(count)
        end = count - count % batch_size if drop_last and count >= batch_size else count
        for start in range(0, end, batch_size):
            yield order[start : start + batch_size].astype(np.int64)

    def batches(self, batch_size: int, device: torch.device | str = "cpu", key: Key | None = None) -> Iterator[Tensor]:
        """Normalised batches; in order unless ``key`` is given."""
        for positions in self.positions(batch_size, key):
            yield self.batch(positions, device)


class LabelledImages(UnlabelledImages):
    """Images with one integer label each.

    Args:
        labels: ``(len(pixels),)`` labels of *all* stored images; ``rows`` picks from both.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: np.ndarray[Any, Any] | Tensor,
        preprocess: Preprocess | None = None,
        rows: Rows | None = None,
    ) -> None:
        super().__init__(pixels, preprocess, rows)
        self._all_labels = torch.as_tensor(labels).long()
        if self._all_labels.shape != (len(pixels),):
            raise UserError(f"{len(pixels)} images but labels of shape {tuple(self._all_labels.shape)}.")
        self.labels = self._all_labels[torch.from_numpy(self.rows)]

    @property
    def fingerprint(self) -> str:
        labels = hashlib.blake2b(self.labels.numpy().tobytes(), digest_size=16).hexdigest()
        return f"{super().fingerprint}-{labels}"

    def subset(self, positions: Rows) -> LabelledImages:
        return LabelledImages(self._pixels, self._all_labels, self.preprocess, self.rows[positions])

    def relabelled(self, labels: Tensor) -> LabelledImages:
        """The same images with other ``(len(self),)`` labels."""
        everywhere = self._all_labels.clone()
        everywhere[torch.from_numpy(self.rows)] = labels
        return LabelledImages(self._pixels, everywhere, self.preprocess, self.rows)

    def labelled(self, positions: Rows, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Images and labels at ``positions``."""
        return self.batch(positions, device), send(taken(self.labels, positions), device)

    def labelled_batches(
        self, batch_size: int, device: torch.device | str = "cpu", key: Key | None = None, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images and labels; in order unless ``key`` is given."""
        for positions in self.positions(batch_size, key, drop_last):
            yield self.labelled(positions, device)
