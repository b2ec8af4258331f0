"""Images with masks: folders of pictures beside folders of their masks, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unlabeled.core.errors import UserError, first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class MaskedImages:
    """Pairs of a picture and its mask, whose pixels are class numbers.

    Attributes:
        pictures, masks: files, in one order.
        height, width: to which pictures are resized (bicubic, antialiased); masks keep their own pixels.
        channels: 1 or 3.
        void: class number of pixels that count for nothing.
    """

    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]
    height: int
    width: int
    channels: int = 3
    void: int | None = None

    @classmethod
    def folder(
        cls,
        root: Path,
        split: str,
        height: int,
        width: int,
        *,
        channels: int = 3,
        void: int | None = None,
        beside: str = "annot",
    ) -> MaskedImages:
        """``root/SPLIT`` and ``root/SPLITannot`` (as CamVid comes; or another ending), files of the same names.

        Raises:
            UserError: no folder, no picture, or a picture without a mask.
        """
        at = root.expanduser()
        try:
            pictures = sorted(f for f in (at / split).iterdir() if f.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise UserError(f"there are no pictures in {at / split} ({error.strerror or error}).") from error
        if not pictures:
            raise UserError(f"there are no pictures in {at / split}.")
        masks = [at / f"{split}{beside}" / f"{f.stem}.png" for f in pictures]
        missing = next((mask for mask in masks if not mask.is_file()), None)
        if missing is not None:
            raise UserError(f"the mask {missing} is missing; every picture of {at / split} needs one.")
        return cls(tuple(pictures), tuple(masks), height, width, channels, void)

    def __len__(self) -> int:
        return len(self.pictures)

    def first(self, n: int) -> MaskedImages:
        """At most ``n`` of the pairs, spread evenly."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).astype(int))
        pick = [tuple(files[row] for row in rows) for files in (self.pictures, self.masks)]
        return MaskedImages(pick[0], pick[1], self.height, self.width, self.channels, self.void)

    def batches(self, size: int = 16) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Yield uint8 pictures (b, C, height, width) and their masks, (H, W) int64 each; void is -1.

        Raises:
            UserError: a file cannot be read, or a mask is of another size than its picture.
        """
        for start in range(0, len(self), size):
            pairs = [self._pair(i) for i in range(start, min(start + size, len(self)))]
            yield torch.stack([picture for picture, _ in pairs]), [mask for _, mask in pairs]

    def _pair(self, i: int) -> tuple[Tensor, Tensor]:
        try:
            with Image.open(self.pictures[i]) as picture, Image.open(self.masks[i]) as mask:
                if picture.size != mask.size:
                    raise UserError(
                        f"the mask {self.masks[i]} is of {mask.width}x{mask.height} pixels, its picture of "
                        f"{picture.width}x{picture.height}."
                    )
                if mask.mode not in ("L", "P", "I", "I;16", "1"):
                    raise UserError(f"the mask {self.masks[i]} is of kind {mask.mode}, not of class numbers.")
                pixels = np.asarray(
                    picture.convert("RGB" if self.channels == 3 else "L").resize(
                        (self.width, self.height), Image.Resampling.BICUBIC
                    )
                )
                classes = torch.from_numpy(np.asarray(mask).astype(np.int64))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{self.pictures[i]} or its mask cannot be read ({first_line(error)}).") from error
        if self.void is not None:
            classes = torch.where(classes == self.void, -1, classes)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return torch.from_numpy(pixels.copy()), classes
