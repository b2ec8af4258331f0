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

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from unlabeled.core.pixels import (
    MAX_PIXELS,
    SIXTEEN_BIT,
    Array,
    DecodeError,
    Pixels,
    fit_array,
    fit_image,
    hwc,
    orientation,
)
from unlabeled.data.listing import Raw, printable

VERSION = 1
"""Part of every store's fingerprint: raise it when the same file would decode to other pixels."""

# Formats that Pillow reads itself; EPS, for one, would start another program.
_FORMATS = frozenset((
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "ICO",
))  # fmt: skip
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".mpo", ".avif", ".tga", ".pcx", ".ico", ".npy",
))  # fmt: skip
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What is wrong with a file is listed with the file; Pillow would also print a line for each.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)


def decode(raw: Raw, height: int, width: int, channels: int) -> Pixels:
    """Return ``raw`` as uint8 pixels (height, width, channels).

    Raises:
        DecodeError: it is no image, damaged, too large, or has other channels than can be turned into ``channels``.
    """
    try:
        if isinstance(raw, np.ndarray):
            return fit_array(raw, height, width, channels)
        data = _contents(raw)
        if data[:6] == b"\x93NUMPY":
            return fit_array(_npy(data), height, width, channels)
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                return _fit_image(image, height, width, channels)
        except UnidentifiedImageError:
            if not data.startswith(_TIFF):
                raise
            return fit_array(_tiff(data), height, width, channels)
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
            height, width, channels = hwc(raw, 0).shape
        elif (data := _contents(raw))[:6] == b"\x93NUMPY":
            height, width, channels = hwc(_npy(data), 0).shape
        else:
            try:
                with Image.open(io.BytesIO(data), formats=_formats()) as image:
                    width, height = image.size
                    if orientation(image) >= 5:
                        width, height = height, width
                    gray = image.mode in ("1", "L", "LA", "La", "F", *SIXTEEN_BIT)
                    return height, width, 1 if gray else 3
            except UnidentifiedImageError:
                if not data.startswith(_TIFF):
                    raise
                height, width, channels = hwc(_tiff(data), 0).shape
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


def _fit_image(image: Image.Image, height: int, width: int, channels: int) -> Pixels:
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    if channels > 3 and image.format == "TIFF" and getattr(image, "n_frames", 1) == channels:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
        if len({page.shape for page in pages}) != 1 or pages[0].ndim != 2:
            raise DecodeError("the pages of the TIFF are not gray images of one size")
        return fit_array(np.stack(pages, axis=-1), height, width, channels)
    return fit_image(image, height, width, channels)
