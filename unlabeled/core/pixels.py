"""What a number in an image means: one rule for every image, whether it trains a network or is given to a trained one.

A :class:`PixelRule` is decided once per data set (``unlabeled.data.decide``), applied to each of its splits, and kept
with the run and the backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

MAX_PIXELS = 178_956_970
"""More pixels than this in one file are taken for a decompression bomb (Pillow's own bound)."""

USUAL_CHANNELS = (1, 3, 4)

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Range = tuple[float, float]
Mode = Literal["L", "LA", "RGB", "RGBA"]


class DecodeError(Exception):
    """An image cannot be read; the message is the reason, on one line."""


@dataclass(frozen=True)
class PixelRule:
    """What the numbers of a data set's images mean.

    Attributes:
        integers: the values that become 0 and 255, of integers of more than 8 bits; ``None``: no image told, so 16 bits
            mean 0..65535.
        floats: the same of floats; ``None``: 0..1.
        bytes: the same of 8-bit images; ``None``: as they are.
        beyond: what happens to values outside: ``"cut"`` off as asked for, cut off and ``"said"``, or ``"refused"``.
        bands: which stored bands become the channels, from 0; ``None``: all.
        alpha: whether the last of 2 or 4 bands that declare no meaning (arrays) is transparency.
        channels_first: whether arrays are (C, H, W); ``None``: decided by the shape of each.
        pages: whether the gray pages of a TIFF are its bands; otherwise the first page is the image.
    """

    integers: Range | None = None
    floats: Range | None = None
    bytes: Range | None = None
    beyond: Literal["cut", "said", "refused"] = "refused"
    bands: tuple[int, ...] | None = None
    alpha: bool = False
    channels_first: bool | None = None
    pages: bool = True

    def asdict(self) -> dict[str, Any]:
        """A form for JSON; :meth:`fromdict` reads it."""
        return asdict(self)

    @classmethod
    def fromdict(cls, held: Any) -> PixelRule:
        """Read what :meth:`asdict` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(held, dict) or not held.keys() <= cls.__dataclass_fields__.keys():
            raise ValueError("it is not a rule for pixels")
        values: dict[str, Any] = dict(held)
        for name in ("integers", "floats", "bytes"):
            if values.get(name) is not None:
                low, high = map(float, values[name])
                if not low < high < float("inf"):
                    raise ValueError(f"{name} {low:g}..{high:g} is not a range")
                values[name] = (low, high)
        if values.get("bands") is not None:
            values["bands"] = tuple(int(band) for band in values["bands"])
        if values.get("beyond", "refused") not in ("cut", "said", "refused"):
            raise ValueError("'beyond' is none of cut, said, refused")
        if any(not isinstance(values.get(name), bool | None) for name in ("alpha", "channels_first", "pages")):
            raise ValueError("it has a flag that is neither true nor false")
        return cls(**values)

    def range_of(self, dtype: np.dtype[Any]) -> Range | None:
        """The values of this type that become 0 and 255; ``None``: nothing says."""
        if dtype == np.bool_:
            return (0, 1)
        if dtype == np.uint8:
            return self.bytes or (0, 255)
        if dtype.kind == "f":
            return self.floats or (0, 1)
        return self.integers or ((0, 65535) if dtype == np.uint16 else None)


BY_TYPE = PixelRule()
"""The rule where no data set tells: 16 bits are 0..65535, floats 0..1, every band is a channel."""


@dataclass(frozen=True)
class Bands:
    """Numbers (H, W) or with bands, and what their file says of them.

    Attributes:
        array: the numbers.
        declared: ``"L"``, ``"LA"``, ``"RGB"`` or ``"RGBA"``; ``None``: bands without a meaning.
        upright: whether they are (H, W, C) for certain.
    """

    array: Array
    declared: Mode | None = None
    upright: bool = True


def chosen(numbers: Array, declared: Mode | None, rule: PixelRule) -> tuple[Array, Mode | None]:
    """The bands of (H, W, C) numbers that ``rule`` wants, and what is declared of them.

    Raises:
        DecodeError: there is no such band.
    """
    if rule.bands is not None:
        if max(rule.bands) >= numbers.shape[2]:
            raise DecodeError(f"it has no band {max(rule.bands) + 1}, only {numbers.shape[2]} (data.bands)")
        return numbers[..., list(rule.bands)], None
    if declared is None and rule.alpha and numbers.shape[2] in (2, 4):
        return numbers, "LA" if numbers.shape[2] == 2 else "RGBA"
    return numbers, declared


def hwc(array: Array, channels: int | None, first: bool | None = None) -> Array:
    """View (H, W), (H, W, C) or (C, H, W) as (H, W, C).

    Args:
        array: the numbers of an image.
        channels: how many channels are wanted, if that is known.
        first: whether (C, H, W) is meant; ``None``: see :func:`channels_lead`.

    Raises:
        DecodeError: it is not an image, is too large, or might be either.
    """
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DecodeError(f"an array of shape {array.shape} is not an image")
    if array.ndim == 2:
        array = array[..., None]
    elif channels_lead([array.shape], channels) if first is None else first:
        array = array.transpose(1, 2, 0)
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DecodeError(f"more than {MAX_PIXELS:,} pixels")
    return array


def channels_lead(shapes: Iterable[tuple[int, ...]], channels: int | None) -> bool:
    """Whether arrays of these shapes are (C, H, W) rather than (H, W, C).

    The wanted number of channels decides; else what all arrays share while heights and widths vary; else 1, 3 or 4 at
    one end alone, or two equal sides. Where these disagree, or none of them tells, nobody guesses.

    Raises:
        DecodeError: it might be either.
    """
    shapes = sorted(set(shapes))
    leading, trailing = {shape[0] for shape in shapes}, {shape[2] for shape in shapes}
    if channels is not None and (leading == {channels}) != (trailing == {channels}):
        return leading == {channels}
    if len(shapes) > 1 and (len(leading) == 1) != (len(trailing) == 1):
        return len(leading) == 1
    votes = set()
    for first, middle, last in shapes:
        if (first in USUAL_CHANNELS) != (last in USUAL_CHANNELS):
            votes.add(first in USUAL_CHANNELS)
        if (first == middle) != (middle == last):
            votes.add(middle == last)
        few = min(first, last)
        if first != last and few <= 32 and 2 * few <= min(middle, max(first, last)):
            votes.add(first < last)
    if len(votes) == 1:
        return votes.pop()
    first, middle, last = shapes[0]
    if not votes and (first == last or (first in USUAL_CHANNELS and last in USUAL_CHANNELS)):
        return False  # as numpy, Pillow and every camera have it
    raise DecodeError(
        f"an array of {first}×{middle}×{last} may be {last} channels of {first}×{middle} pixels or {first} of "
        f"{middle}×{last}; say which with data.channels"
    )


def to_uint8(array: Array, rule: PixelRule = BY_TYPE, said: set[str] | None = None) -> Pixels:
    """Scale pixel values to 0..255 by the rule of their data set, never by an image's own brightness.

    Raises:
        DecodeError: values are NaN, infinite, of no type for pixels, or outside a range that refuses others.
    """
    if array.dtype == np.bool_:
        return np.where(array, 255, 0).astype(np.uint8)
    if array.dtype == np.uint8 and rule.bytes is None:
        return array
    if array.dtype.kind not in "iuf":
        raise DecodeError(f"values of type {array.dtype} are no pixels")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DecodeError("NaN or infinite values")
    found = rule.range_of(array.dtype)
    if found is None:
        raise DecodeError(f"nothing says which range values of type {array.dtype} have; give data.range")
    low, high = found
    kind = rule.floats if array.dtype.kind == "f" else rule.integers
    if said is not None and rule.beyond == "said" and kind is None and array.dtype != np.uint8:
        said.add("unknown")
    if rule.beyond != "cut":
        half = (high - low) / 510  # less than half a level is a rounding error
        smallest, largest = float(array.min()), float(array.max())
        if smallest < low - half or largest > high + half:
            if rule.beyond == "refused":
                raise DecodeError(f"values {smallest:g}..{largest:g} lie outside {low:g}..{high:g}")
            if said is not None:
                said.add("cut")
    levels = (array.astype(np.float64) - low) * 255 / (high - low)
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
