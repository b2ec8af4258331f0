"""From any image to the pixels of a network's input: upright, of 8 bits, of the wanted size and channels.

Numbers become 8 bits first and are resized then, so that files, arrays and tensors of one picture give one input.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image

from unlabeled.core.pixels import (
    BY_TYPE,
    MAX_PIXELS,
    USUAL_CHANNELS,
    Array,
    Bands,
    DecodeError,
    Mode,
    PixelRule,
    Pixels,
    chosen,
    hwc,
    to_uint8,
)  # fmt: skip

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
_LARGEST_RESIZED = 16_000_000
"""Pixels: of longer and thinner images only what is kept is computed, which differs in a last bit here and there."""
_WHITE = (255, 255, 255, 255)
SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied: 1 is upright."""
    if image.format == "TIFF":  # which Pillow turns by itself
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1


def fit_image(
    image: Image.Image, height: int, width: int, channels: int, rule: PixelRule = BY_TYPE, said: set[str] | None = None
) -> Pixels:
    """Turn a picture upright and into ``channels``, and resize it to its largest centred region.

    Args:
        image: any mode.
        height, width, channels: what is wanted.
        rule: what its numbers mean.
        said: receives the names of what was lost on the way (``REMARKS`` in ``unlabeled.data.decode``).

    Returns:
        uint8 (height, width, channels).

    Raises:
        DecodeError: it is too large, or has other channels than can be turned into ``channels``.
    """
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    turn, form = orientation(image), image.format
    image.load()
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
        image.format = form
    held = numbers_in(image)
    if held is not None:
        return fit_array(held, height, width, channels, rule, said)
    if rule.bands is not None or rule.bytes is not None:
        plain = image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert(_plain(image))
        numbers, mode = np.asarray(plain), cast(Mode, plain.mode)
        return fit_array(Bands(numbers.reshape(*numbers.shape[:2], -1), mode), height, width, channels, rule, said)
    return _resized(_convert(image, channels, said), height, width)


def numbers_in(image: Image.Image) -> Bands | None:
    """The numbers of a loaded picture of more than 8 bits or of bands without a meaning; ``None`` for all others."""
    if image.mode == "RGBX":  # a fourth band of which the file does not say what it is
        return Bands(np.asarray(image))
    if image.mode not in SIXTEEN_BIT and image.mode != "F":
        return None
    array = np.asarray(image)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # files of 16 bits
        array = array.astype(np.uint16)
    return Bands(array[..., None], "L")


def _plain(image: Image.Image) -> str:
    if image.mode in ("La", "PA", "RGBa") or "transparency" in image.info:
        return "LA" if image.mode == "La" else "RGBA"
    return "L" if image.mode == "1" else "RGB"


def _convert(image: Image.Image, channels: int, said: set[str] | None = None) -> Image.Image:
    """Turn any 8-bit mode into L, RGB or RGBA."""
    wanted = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if wanted is None:
        raise DecodeError(f"it has {len(image.getbands())} channels where {channels} are wanted")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if said is not None and wanted == "L" and image.mode not in ("1", "L", "LA"):
        said.add("colour")
    if wanted != "RGBA" and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, _WHITE)
        white.alpha_composite(image)
        image = white.convert("RGB")
    return image if image.mode == wanted else image.convert(wanted)


def _resized(image: Image.Image, height: int, width: int) -> Pixels:
    """uint8 (height, width, C) of an image of mode L or RGB, or of others band by band."""
    if image.mode not in ("L", "RGB") and image.size != (width, height):  # Pillow would weigh colours by transparency
        return np.concatenate([_resized(band, height, width) for band in image.split()], axis=-1)
    pixels = np.asarray(_crop(image, height, width), dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize the whole image until it just covers the wanted size, then cut out the middle, as torchvision does.

    (``Resize(short side)`` and ``CenterCrop``, antialiased bicubic; the rounding is theirs, too.)
    """
    if image.size == (width, height):
        return image
    if image.width * height <= image.height * width:
        across, down = width, max(height, int(width * image.height / image.width))
    else:
        across, down = max(width, int(height * image.width / image.height)), height
    left, top = round((across - width) / 2), round((down - height) / 2)
    if across * down <= _LARGEST_RESIZED:
        whole = image if image.size == (across, down) else image.resize((across, down), Image.Resampling.BICUBIC)
        return whole.crop((left, top, left + width, top + height))
    x, y = image.width / across, image.height / down
    box = (left * x, top * y, min((left + width) * x, image.width), min((top + height) * y, image.height))
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def fit_array(
    array: Array | Bands, height: int, width: int, channels: int, rule: PixelRule = BY_TYPE,
    said: set[str] | None = None,
) -> Pixels:  # fmt: skip
    """As :func:`fit_image`, for numbers: (H, W), (H, W, C) or (C, H, W).

    Raises:
        DecodeError: the shape, the values or the number of bands do not fit.
    """
    held = array if isinstance(array, Bands) else Bands(array, upright=False)
    numbers = held.array
    if not (held.upright and numbers.ndim == 3):
        numbers = hwc(numbers, None if rule.bands else channels, rule.channels_first)
    numbers, declared = chosen(numbers, held.declared, rule)
    if declared in ("LA", "RGBA"):  # transparency is full at its type's largest value, whatever the range of the rest
        pixels = np.concatenate([to_uint8(numbers[..., :-1], rule, said), to_uint8(numbers[..., -1:])], axis=-1)
    else:
        pixels = to_uint8(numbers, rule, said)
    found = pixels.shape[2]
    if found == channels:
        return resize_pixels(pixels, height, width)
    if found not in (1, 3) and declared is None:
        raise DecodeError(_not_these(found, channels))
    if channels not in USUAL_CHANNELS:
        raise DecodeError(f"it has {found} channels where {channels} are wanted")
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if found == 1 else pixels))
    return _resized(_convert(image, channels, said), height, width)


def _not_these(found: int, wanted: int) -> str:
    first = ",".join(str(band + 1) for band in range(min(found, wanted)))
    last = {2: ", or data.bands=la", 4: ", or data.bands=rgba"}.get(found, "")
    return (
        f"it has {found} channels where {wanted} are wanted; choose them with data.bands={first}{last}"
        f"{' if the last is transparency' if last else ''}"
    )


def resize_pixels(pixels: Pixels, height: int, width: int) -> Pixels:
    """uint8 (H, W, C) of any number of channels to the largest centred region of (height, width), band by band."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.shape[2] == 3:
        return _resized(Image.fromarray(np.ascontiguousarray(pixels)), height, width)
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(pixels.shape[2])]
    return np.concatenate([_resized(band, height, width) for band in bands], axis=-1)
