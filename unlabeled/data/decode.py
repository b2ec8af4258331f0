"""One file or array in, one uint8 image out: every mode, depth and orientation, or a reason why not.

What is done, in this order:

1. The first frame of an animation is taken. Gray pages of a TIFF are its bands, where the data set's rule says so.
2. The EXIF orientation is applied.
3. Transparency that a file declares is laid over white; palette, CMYK, bilevel, … become RGB, or gray if one channel
   is wanted. More than 8 bits and floats are scaled as the data set's :class:`~unlabeled.core.pixels.PixelRule` says.
4. The image is resized until it just covers the wanted size (for squares: the shorter side) with an antialiased
   bicubic filter, and its middle is taken. An image that has the wanted size already is left as it is.

docs/pixels.md shows it for every kind of image.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from unlabeled.core.fit import SIXTEEN_BIT, fit_array, fit_image, numbers_in, orientation
from unlabeled.core.pixels import BY_TYPE, MAX_PIXELS, Array, Bands, DecodeError, Mode, PixelRule, Pixels, chosen, hwc
from unlabeled.data.listing import Raw, printable

VERSION = 2
"""Part of every store's fingerprint: raise it when the same file would decode to other pixels."""

# Formats that Pillow reads itself; EPS, for one, would start another program.
_FORMATS = frozenset((
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "ICO",
))  # fmt: skip
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".mpo", ".avif", ".tga", ".pcx", ".ico", ".npy",
))  # fmt: skip
REMARKS = {
    "colour": "{n} colour images of '{name}' were turned gray; data.channels=3 keeps their colours",
    "frames": "{n} files of '{name}' hold several frames or pages, of which only the first is used",
    "cut": "{n} images of '{name}' hold values outside the range of the training images, which were cut off; "
    "data.range=LOW..HIGH takes them in",
    "unknown": "{n} images of '{name}' have a type that no training image has, and were scaled by it; see data.range",
}
"""What may be lost of an image that is readable."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
_HEAD = 32
_GRAY = ("1", "L", "F", *SIXTEEN_BIT)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What is wrong with a file is listed with the file; Pillow would also print a line for each.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)


def decode(
    raw: Raw, height: int, width: int, channels: int, rule: PixelRule = BY_TYPE, said: set[str] | None = None
) -> Pixels:
    """Return ``raw`` as uint8 pixels (height, width, channels).

    Args:
        raw: a file, its bytes, a picture or an array.
        height, width, channels: what is wanted.
        rule: what the numbers mean, as decided for the data set.
        said: receives what was lost on the way, as keys of :data:`REMARKS`.

    Raises:
        DecodeError: it is not an image, damaged, too large, or has other channels than can be turned into ``channels``.
    """
    try:
        held = _opened(raw, rule, said)
        if isinstance(held, Bands):
            return fit_array(held, height, width, channels, rule, said)
        with held:
            return fit_image(held, height, width, channels, rule, said)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def measure(raw: Raw, rule: PixelRule = BY_TYPE) -> tuple[int, int, int]:
    """Return ``(height, width, channels)`` as they would be decoded natively, of pictures by their header alone.

    Raises:
        DecodeError: it is not an image.
    """
    try:
        held = _opened(raw, rule, None)
        if isinstance(held, Bands):
            upright = held.upright and held.array.ndim == 3
            numbers = held.array if upright else hwc(held.array, None, rule.channels_first)
            numbers, declared = chosen(numbers, held.declared, rule)
            height, width, channels = numbers.shape
            return height, width, channels - (declared in ("LA", "RGBA"))
        with held:
            width, height = held.size
            if orientation(held) >= 5:
                width, height = height, width
            channels = 1 if held.mode in (*_GRAY, "LA", "La") else 3
            return height, width, len(rule.bands) if rule.bands else channels
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def numbers_of(raw: Raw) -> Bands | None:
    """The numbers of an image whose meaning its data set must settle; ``None`` for an ordinary 8-bit picture.

    Raises:
        DecodeError: it is not an image.
    """
    try:
        if isinstance(raw, Path | bytes):
            head = raw[:_HEAD] if isinstance(raw, bytes) else _contents(raw, _HEAD)
            if head.startswith(_EIGHT_BITS) or (head.startswith(_PNG) and head[24] <= 8):
                return None
        held = _opened(raw, BY_TYPE, None)
        if isinstance(held, Bands):
            return held
        with held:
            return numbers_in(held)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def _opened(raw: Raw, rule: PixelRule, said: set[str] | None) -> Image.Image | Bands:
    """A picture that is not read yet, or numbers: of arrays, and of files that Pillow would cut down to 8 bits."""
    if isinstance(raw, np.ndarray):
        return Bands(raw, upright=False)
    if isinstance(raw, Image.Image):
        return raw
    data = _contents(raw)
    if data.startswith(b"\x93NUMPY"):
        return Bands(_npy(data), upright=False)
    if data.startswith(_PNG) and data[24:25] == b"\x10" and data[25:26] in b"\2\4\6":
        return _deep_png(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        if not data.startswith(_TIFF):
            raise
        return _tiff(data, rule, said)
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    if image.format == "TIFF":
        return _pillow_tiff(image, data, rule, said)
    if said is not None and image.format in ("GIF", "WEBP", "PNG", "AVIF"):
        with suppress(Exception):  # a damaged second frame: the first is what counts
            if getattr(image, "is_animated", False):
                said.add("frames")
    return image


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in Image.OPEN if name in _FORMATS)


def _contents(raw: Path | bytes, most: int = -1) -> bytes:
    if isinstance(raw, bytes):
        return raw
    # A pipe or a device would block for ever; opening non-blocking, then looking, leaves no gap between.
    descriptor = os.open(raw, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DecodeError("not a regular file")
        data = handle.read(most)
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


def _deep_png(data: bytes) -> Bands:
    """A PNG of several 16-bit channels, of which Pillow would drop the lower half."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:  # checks the size that the header claims
        if image.width * image.height > MAX_PIXELS:
            raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    import torch
    from torchvision.io import ImageReadMode, decode_png

    pixels = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED, True)
    return Bands(pixels.permute(1, 2, 0).numpy(), _MODES[pixels.shape[0]])


_MODES: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def _pillow_tiff(image: Any, data: bytes, rule: PixelRule, said: set[str] | None) -> Image.Image | Bands:
    """A TIFF that Pillow opens: as it is, or as numbers where Pillow would drop bits, bands or pages."""
    samples, unknown = image.tag_v2.get(277, 1), 0 in _all(image.tag_v2.get(338, ()))
    deep = max(_all(image.tag_v2.get(258, 8))) > 8
    if samples > 1 and (deep or (unknown and image.mode != "RGBX")):
        return _tiff(data, rule, said)
    if image.n_frames > 1 and rule.pages and image.mode in _GRAY:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
        if len({page.shape for page in pages}) == 1 and pages[0].ndim == 2:
            return Bands(np.stack(pages, axis=-1))
        image.seek(0)
    if image.n_frames > 1 and said is not None:
        said.add("frames")
    return image  # type: ignore[no-any-return]


def _all(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _tiff(data: bytes, rule: PixelRule, said: set[str] | None) -> Bands:
    """A TIFF of kinds that Pillow does not read whole: more than four bands, 16 bits of several, …"""
    try:
        import tifffile
    except ImportError:
        raise DecodeError("a TIFF that needs another reader: pip install tifffile, or save it as .npy") from None
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages.first
        if page.imagelength * page.imagewidth > MAX_PIXELS:
            raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
        array = np.asarray(page.asarray())
        if array.ndim == 3 and page.axes.startswith("S"):
            array = array.transpose(1, 2, 0)
        if len(file.pages) > 1:
            pages = [np.asarray(p.asarray()) for p in file.pages] if rule.pages and array.ndim == 2 else []
            if pages and len({p.shape for p in pages}) == 1:
                return Bands(np.stack(pages, axis=-1))
            if said is not None:
                said.add("frames")
        if array.ndim == 2:
            return Bands(array[..., None], "L")
        colours, clear = int(page.photometric) == 2, set(map(int, page.extrasamples)) & {1, 2}
        own = {3: "RGB"} if colours else {}
        if len(page.extrasamples) == 1 and clear:
            own = {4: "RGBA"} if colours else {2: "LA"}
        declared: Any = own.get(array.shape[2])
        return Bands(array, declared)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text or type(error).__name__)[:200]
