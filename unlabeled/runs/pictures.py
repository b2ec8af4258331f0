"""A method's pictures as PNG files of the run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from unlabeled.core.files import atomic_write
from unlabeled.ssl.method import Picture

SMALLEST_SIDE = 56


def save_picture(picture: Picture, folder: Path, epoch: int) -> Path:
    """Write the rows of a picture as one PNG, small images enlarged to be seen.

    Args:
        picture: images ``(rows, columns, C, H, W)`` in [0, 1], with 1 or 3 channels (others: the first one).
        folder: where to write; file names sort by epoch.
        epoch: epochs done when the picture was made.
    """
    pixels = (picture.images.float().cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    rows, columns, channels, height, _ = pixels.shape
    factor = max(1, -(-SMALLEST_SIDE // height))
    pixels = pixels.repeat(factor, axis=3).repeat(factor, axis=4)
    if channels not in (1, 3):
        pixels = pixels[:, :, :1]
    framed = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    sheet = framed.transpose(0, 3, 1, 4, 2).reshape(rows * framed.shape[3], columns * framed.shape[4], -1)
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze(-1) if sheet.shape[2] == 1 else sheet).save(buffer, "PNG")
    path = folder / f"{picture.title.replace(' ', '-')}-epoch-{epoch:04d}.png"
    atomic_write(path, lambda handle: handle.write(buffer.getvalue()))
    return path
