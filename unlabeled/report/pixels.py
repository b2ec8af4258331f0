"""Pixels as PNG inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from unlabeled.report.content import Pixels


def to_picture(image: Pixels, largest: int | None = None) -> Image.Image:
    """A uint8 image (C, H, W) as a Pillow image; of more than three channels the first three are shown.

    Args:
        largest: reduce the longer side to this many pixels.
    """
    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(f"pictures are uint8 (C, H, W), not {image.dtype} {image.shape}")
    shown = image[0] if image.shape[0] < 3 else image[:3].transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    if largest is not None and max(picture.size) > largest:
        scale = largest / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def png(picture: Image.Image) -> bytes:
    """Encode."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def data_uri(data: bytes, mime: str = "image/png") -> str:
    """The bytes as an address that needs no file and no network."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def sprite(images: Pixels, largest: int = 40) -> tuple[bytes, int, int]:
    """All images (N, C, H, W) as tiles of one PNG.

    Returns:
        The PNG, how many tiles a row has, and the side of the square tiles in pixels.
    """
    side = min(largest, max(images.shape[2:]))
    columns = max(1, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("L" if images.shape[1] < 3 else "RGB", (columns * side, rows * side))
    for number, image in enumerate(images):
        tile = to_picture(image, side)
        x, y = number % columns * side, number // columns * side
        sheet.paste(tile, (x + (side - tile.width) // 2, y + (side - tile.height) // 2))
    return png(sheet), columns, side


def mosaic(rows: Sequence[Sequence[Pixels]], gap: int = 2, background: int = 255) -> bytes:
    """Rows of equally large images (C, H, W) as one PNG with gaps between them."""
    pictures = [[to_picture(image) for image in row] for row in rows]
    width, height = pictures[0][0].size
    size = (max(map(len, pictures)) * (width + gap) - gap, len(pictures) * (height + gap) - gap)
    sheet = Image.new(pictures[0][0].mode, size, background if pictures[0][0].mode == "L" else (background,) * 3)
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + gap), y * (height + gap)))
    return png(sheet)
