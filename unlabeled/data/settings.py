"""What a user may say of a data set's numbers: ``data.range``, ``data.window``, ``data.bands``, ``data.channels``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import Array, Range

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*\[?\s*({_NUMBER})(%?)\s*(?:\.\.|…|,|:|-|–|\sto\s)\s*({_NUMBER})(%?)\s*\]?\s*")
_ALPHA = {"la": 2, "rgba": 4}


@dataclass(frozen=True)
class PixelSettings:
    """What was set; ``None`` is decided from the data.

    Attributes:
        channels: how many channels the images are to have.
        range: ``"LOW..HIGH"``, the values that are black and white; values beyond are cut off and counted aloud.
        window: the same, but values beyond are cut off as a matter of course; percentiles (``"1%..99%"``) are taken
            over the training images.
        bands: ``"4,3,2"``: the bands that become channels, counted from 1; ``"la"`` or ``"rgba"``: the last of 2 or
            4 bands is transparency.

    Raises:
        UserError: one of them is not understood, or both range and window are given.
    """

    channels: int | None = None
    range: str | None = None
    window: str | None = None
    bands: str | None = None

    def __post_init__(self) -> None:
        if self.range is not None and self.window is not None:
            raise UserError("data.range and data.window both say what is black and white; give one of them.")
        for name, text in (("range", self.range), ("window", self.window)):
            if text is not None:
                _parsed(name, text)
        bands = self.chosen_bands()
        if bands is not None and self.channels not in (None, 1, 3, 4, len(bands)):
            raise UserError(f"data.bands={self.bands} are {len(bands)} channels, not data.channels={self.channels}.")

    def chosen_bands(self) -> tuple[int, ...] | None:
        """The chosen bands, from 0."""
        if self.bands is None or self.last_is_alpha():
            return None
        parts = [part.strip() for part in self.bands.strip("[]() ").split(",")]
        if not all(part.isdecimal() and 0 < int(part) <= 65536 for part in parts):
            raise UserError(f"data.bands={self.bands} must be numbers from 1 on, like 4,3,2, or la or rgba.")
        return tuple(int(part) - 1 for part in parts)

    def last_is_alpha(self) -> bool:
        return self.bands is not None and self.bands.strip().lower() in _ALPHA

    def given_range(self, sample: Array | None) -> Range | None:
        """The values that become black and white; ``sample`` is what percentiles are taken of.

        Raises:
            UserError: percentiles are wanted of 8-bit images, or all values are equal.
        """
        name, text = ("window", self.window) if self.window is not None else ("range", self.range)
        if text is None:
            return None
        low, high, percent = _parsed(name, text)
        if not percent:
            return low, high
        if sample is None:
            raise UserError(f"data.window={text}: 8-bit images are not stretched by percentiles; give two values.")
        low, high = (float(value) for value in np.percentile(sample, [low, high]))
        if not low < high:
            raise UserError(f"data.window={text}: between these percentiles all values are {low:g}; give two values.")
        return low, high


def as_text(value: Any) -> Any:
    """``[0, 4095]`` as YAML reads it, and single numbers, in the form of a setting."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _parsed(name: str, text: str) -> tuple[float, float, bool]:
    match = _RANGE.fullmatch(text)
    percent = match is not None and bool(match[2] and match[4])
    if match is None or bool(match[2]) != bool(match[4]) or (percent and name == "range"):
        example = "0..4095" if name == "range" else "0..3000 or 1%..99%"
        raise UserError(f"data.{name}={text} is not understood; write LOW..HIGH, e.g. data.{name}={example}.")
    low, high = float(match[1]), float(match[3])
    if not low < high or (percent and not 0 <= low < high <= 100):
        raise UserError(f"data.{name}={text}: the first number must be smaller than the second.")
    return low, high, percent
