"""What a pixel is: one rule for every image, whether it trains a network or is given to a trained one."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

MAX_PIXELS = 178_956_970
"""More pixels than this in one file are taken for a decompression bomb (Pillow's own bound)."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_BICUBIC = Image.Resampling.BICUBIC
_WHITE = (255, 255, 255, 255)
SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class DecodeError(Exception):
    """An image cannot be read; the message is the reason, on one line."""


def orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied: 1 is upright."""
    if image.format == "TIFF":  # which Pillow turns by itself
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1


def fit_image(image: Image.Image, height: int, width: int, channels: int) -> Pixels:
    """Turn a picture upright and into ``channels``, and resize its largest centred region.

    Returns:
        uint8 (height, width, channels).

    Raises:
        DecodeError: it is too large, or has other channels than can be turned into ``channels``.
    """
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    turn = orientation(image)
    image.draft(None, (2 * max(height, width),) * 2)
    image.load()
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    if image.mode in SIXTEEN_BIT or image.mode == "F":
        return fit_array(np.asarray(image), height, width, channels)
    return _array(_crop(_convert(image, channels), height, width))


def _convert(image: Image.Image, channels: int) -> Image.Image:
    """Turn any 8-bit mode into L, RGB or RGBA."""
    wanted = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if wanted is None:
        raise DecodeError(f"it has {len(image.getbands())} channels where {channels} are wanted")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if wanted != "RGBA" and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, _WHITE)
        white.alpha_composite(image)
        image = white.convert("RGB")
    return image if image.mode == wanted else image.convert(wanted)


def _crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize the largest centred region of the wanted shape."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    across, down = width * scale, height * scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((width, height), _BICUBIC, box=(left, top, left + across, top + down))


def _array(image: Image.Image) -> Pixels:
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fit_array(array: Array, height: int, width: int, channels: int) -> Pixels:
    """Scale to uint8 first, so that resizing sees the same numbers for arrays as for files."""
    pixels = to_uint8(hwc(array, channels))
    found = pixels.shape[2]
    if found != channels:
        if found not in (1, 2, 3, 4):
            raise DecodeError(f"it has {found} channels where {channels} are wanted")
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[found]
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if found == 1 else pixels))
        if image.mode != mode:
            image = image.convert(mode)
        return _array(_crop(_convert(image, channels), height, width))
    if pixels.shape[:2] == (height, width):
        return pixels
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(found)]
    return np.stack([np.asarray(_crop(band, height, width)) for band in bands], axis=-1)


def hwc(array: Array, channels: int) -> Array:
    """View (H, W), (H, W, C) or (C, H, W) as (H, W, C): ``channels`` decides, else the shortest axis."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise DecodeError(f"an array of shape {array.shape} is no image")
    first, last = array.shape[0], array.shape[2]
    leads = first == channels if (first == channels) != (last == channels) else first < min(last, array.shape[1])
    array = array.transpose(1, 2, 0) if leads else array
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    return array


def to_uint8(array: Array) -> Pixels:
    """Scale pixel values to 0..255 by their type: the same rule for every image, whatever its brightness.

    Raises:
        DecodeError: values are NaN, infinite or outside the type's range for pixels.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return np.where(array, 255, 0).astype(np.uint8)
    if array.dtype.kind in "iu":
        if array.min() < 0 or array.max() > 65535:
            raise DecodeError(f"values {array.min()}..{array.max()} do not fit 16 bits")
        if array.dtype.itemsize in (1, 8) and array.max() <= 255:
            return array.astype(np.uint8)  # 64-bit integers are numpy's default, not a camera's depth
        return np.asarray((array.astype(np.uint32) * 255 + 32767) // 65535, dtype=np.uint8)
    if array.dtype.kind != "f":
        raise DecodeError(f"values of type {array.dtype} are no pixels")
    if not np.isfinite(array).all():
        raise DecodeError("NaN or infinite values")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255:
        raise DecodeError(f"values {low:g}..{high:g} lie outside 0..1 and 0..255")
    return np.rint(array * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
