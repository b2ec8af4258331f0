"""One file or array in, one uint8 image out: every mode, depth and orientation, or a reason why not.

What is done, in this order:

1. JPEG files much larger than needed are decoded at a fraction of their size (never below twice what is needed).
2. The first frame of an animation is taken. A TIFF of more pages than three is read as channels if so many are wanted.
3. The EXIF orientation is applied.
4. Transparency is laid over white; palette, CMYK, bilevel, … become RGB, or gray if one channel is wanted.
   16-bit values are scaled by 255/65535 and rounded; floats must lie in 0..1 (scaled by 255) or 0..255.
5. The largest centred region of the wanted shape (for squares: the shorter side) is resized with an antialiased
   bicubic filter. An image that has the wanted size already is left as it is.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from unlabeled.data.images import Pixels
from unlabeled.data.listing import Raw, printable

VERSION = 1
"""Part of every store's fingerprint: raise it when the same file would decode to other pixels."""

MAX_PIXELS = 178_956_970
"""More pixels than this in one file are taken for a decompression bomb (Pillow's own bound)."""

# Formats that Pillow reads itself; EPS, for one, would start another program.
_FORMATS = frozenset((
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "ICO",
))  # fmt: skip
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".mpo", ".avif", ".tga", ".pcx", ".ico", ".npy",
))  # fmt: skip
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
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE = (255, 255, 255, 255)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")

Array = np.ndarray[Any, np.dtype[Any]]

# What is wrong with a file is listed with the file; Pillow would also print a line for each.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)


class DecodeError(Exception):
    """An image cannot be read; the message is the reason, on one line."""


def decode(raw: Raw, height: int, width: int, channels: int) -> Pixels:
    """Return ``raw`` as uint8 pixels (height, width, channels).

    Raises:
        DecodeError: it is no image, damaged, too large, or has other channels than can be turned into ``channels``.
    """
    try:
        if isinstance(raw, np.ndarray):
            return _fit_array(raw, height, width, channels)
        data = _contents(raw)
        if data[:6] == b"\x93NUMPY":
            return _fit_array(_npy(data), height, width, channels)
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                return _fit_image(image, height, width, channels)
        except UnidentifiedImageError:
            if not data.startswith(_TIFF):
                raise
            return _fit_array(_tiff(data), height, width, channels)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def measure(raw: Raw) -> tuple[int, int, int]:
    """Return ``(height, width, channels)`` as they would be decoded natively, reading no more than the header.

    Raises:
        DecodeError: it is no image.
    """
    try:
        if isinstance(raw, np.ndarray):
            height, width, channels = _hwc(raw, 0).shape
        elif (data := _contents(raw))[:6] == b"\x93NUMPY":
            height, width, channels = _hwc(_npy(data), 0).shape
        else:
            try:
                with Image.open(io.BytesIO(data), formats=_formats()) as image:
                    width, height = image.size
                    if _orientation(image) >= 5:
                        width, height = height, width
                    gray = image.mode in ("1", "L", "LA", "La", "F", *_SIXTEEN_BIT)
                    return height, width, 1 if gray else 3
            except UnidentifiedImageError:
                if not data.startswith(_TIFF):
                    raise
                height, width, channels = _hwc(_tiff(data), 0).shape
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error
    # Two channels are gray with alpha, four are colour with alpha.
    return height, width, {2: 1, 4: 3}.get(channels, channels)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in Image.OPEN if name in _FORMATS)


def _contents(raw: Path | bytes) -> bytes:
    if isinstance(raw, bytes):
        return raw
    # A pipe or a device would block for ever; opening non-blocking, then looking, leaves no gap between.
    descriptor = os.open(raw, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DecodeError("not a regular file")
        data = handle.read()
    if not data:
        raise DecodeError("the file is empty")
    return data


def _npy(data: bytes) -> Array:
    """Read a ``.npy`` file whose header may lie about its size; object arrays (pickles) are refused."""
    handle = io.BytesIO(data)
    version = np.lib.format.read_magic(handle)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(handle)
    if dtype.hasobject:
        raise DecodeError("a .npy file of Python objects, which could run code")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * dtype.itemsize > len(data) - handle.tell():
        raise DecodeError("the file is truncated")
    flat = np.frombuffer(data, dtype, count, offset=handle.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _tiff(data: bytes) -> Array:
    """Read a TIFF of kinds that Pillow does not: more than four channels, 16 bits of several channels, …"""
    try:
        import tifffile
    except ImportError:
        raise DecodeError("a TIFF that needs another reader: pip install tifffile, or save it as .npy") from None
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.imagelength * page.imagewidth > MAX_PIXELS:
            raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
        return np.asarray(page.asarray())


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text or type(error).__name__)[:200]


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # which Pillow turns by itself
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1


def _fit_image(image: Image.Image, height: int, width: int, channels: int) -> Pixels:
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    if channels > 3 and image.format == "TIFF" and getattr(image, "n_frames", 1) == channels:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
        if len({page.shape for page in pages}) != 1 or pages[0].ndim != 2:
            raise DecodeError("the pages of the TIFF are not gray images of one size")
        return _fit_array(np.stack(pages, axis=-1), height, width, channels)
    orientation = _orientation(image)
    image.draft(None, (2 * max(height, width),) * 2)
    image.load()
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode in _SIXTEEN_BIT or image.mode == "F":
        return _fit_array(np.asarray(image), height, width, channels)
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


def _fit_array(array: Array, height: int, width: int, channels: int) -> Pixels:
    """Scale to uint8 first, so that resizing sees the same numbers for arrays as for files."""
    pixels = to_uint8(_hwc(array, channels))
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


def _hwc(array: Array, channels: int) -> Array:
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
