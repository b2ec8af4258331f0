"""What the numbers of a data set mean, decided once: from their types, the settings and the whole training set."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.pixels import Array, Bands, DecodeError, PixelRule, Range, channels_lead
from unlabeled.core.progress import progress
from unlabeled.data.decode import VERSION, numbers_of
from unlabeled.data.listing import Listing, digest, printable
from unlabeled.data.ondemand import workers
from unlabeled.data.settings import PixelSettings

_EIGHT_BITS = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".tga", ".pcx", ".ico")
_DEPTHS = (8, 10, 12, 14, 16)
_SAMPLE = 4_000_000
"""Values that are kept of all images together, to see how they are spread."""
_FEW = 32
"""Fewer levels than this for most of the values are worth a warning."""
_NEARLY_ALL = 0.99
"""Of the images must fit a range; the others are taken for damaged, cut off, and said."""


@dataclass(frozen=True)
class Decision:
    """The rule, and a line on each thing that is not plain."""

    rule: PixelRule
    lines: tuple[str, ...] = ()


@dataclass
class _Kind:
    """What was seen of integers, or of floats."""

    extremes: list[Range] = field(default_factory=list)
    """The smallest and the largest value by image."""
    types: dict[str, float] = field(default_factory=dict)
    """The largest value by type."""
    sample: list[Array] = field(default_factory=list)

    @property
    def low(self) -> float:
        return min(low for low, _ in self.extremes)

    @property
    def high(self) -> float:
        return max(high for _, high in self.extremes)

    def within(self, low: float, high: float) -> float:
        """The fraction of images whose values lie there."""
        return sum(low <= least and most <= high for least, most in self.extremes) / len(self.extremes)


class _Seen:
    """What the training images that are not plain 8-bit pictures hold."""

    def __init__(self, images: int) -> None:
        self.kinds: dict[str, _Kind] = {}
        self.shapes: set[tuple[int, ...]] = set()
        self.bands: set[int] = set()
        self.pages: set[int] = set()
        self.plain = 0
        self._each = min(max(_SAMPLE // max(images, 1), 16), 65536)
        self._lock = Lock()

    def add(self, held: Bands | None) -> None:
        if held is None:
            with self._lock:
                self.plain += 1
            return
        array = held.array
        kind = {"f": "floats", "i": "integers", "u": "integers"}.get(array.dtype.kind)
        if kind is None or array.dtype == np.uint8:
            kind = None
        elif not array.size or (kind == "floats" and not np.isfinite(array).all()):
            return  # it is not an image: said when it is decoded
        with self._lock:
            self.plain += kind is None
            if not held.upright and array.ndim == 3:
                self.shapes.add(array.shape)
            elif held.upright and held.declared is None and array.ndim == 3:
                self.bands.add(array.shape[2])
            if kind is not None:
                self._values(self.kinds.setdefault(kind, _Kind()), array)

    def _values(self, kind: _Kind, array: Array) -> None:
        low, high = float(array.min()), float(array.max())
        kind.extremes.append((low, high))
        name = array.dtype.name
        kind.types[name] = max(kind.types.get(name, high), high)
        flat = array.reshape(-1)
        kind.sample.append(flat[:: max(1, flat.size // self._each)].astype(np.float32))


def decide(listing: Listing, settings: PixelSettings, name: str, cache: Path | None) -> Decision:
    """Settle the rule of a data set from its training images ``listing``.

    Args:
        listing: the training split; ``rows`` are its images.
        settings: what the user says of the numbers.
        name: what messages call the data.
        cache: where the answer is kept, so that large sources are looked through once.

    Raises:
        UserError: nothing tells what the numbers mean; the message names the setting that does.
    """
    rows = np.arange(len(listing.names)) if listing.rows is None else listing.rows
    if listing.paths:
        rows = rows[[not listing.names[row].lower().endswith(_EIGHT_BITS) for row in rows.tolist()]]
    if listing.array is not None and listing.array.dtype == np.uint8:
        rows = rows[:1]  # of one type and shape
    elif not listing.quick:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 256)).astype(np.int64))]
    key = digest("decision", VERSION, listing.identity, rows.tobytes(), settings)
    kept = None if cache is None else cache / "decisions" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError, LookupError):
        held = json.loads(kept.read_bytes()) if kept is not None else {}
        return Decision(PixelRule.fromdict(held["rule"]), tuple(map(str, held["lines"])))
    decision = _settle(_look(listing, rows), settings, printable(name))
    if kept is not None and len(rows) > 256:
        with suppress(UserError):  # a cache that cannot be written is said where pixels are kept
            atomic_write_json(kept, {"rule": decision.rule.asdict(), "lines": list(decision.lines)})
    return decision


def _look(listing: Listing, rows: Array) -> _Seen:
    seen = _Seen(len(rows))

    def add(row: int) -> None:
        with suppress(Exception):  # what cannot be read is counted and listed when it is decoded
            seen.add(numbers_of(listing.read(row)))

    if len(rows) <= 256:
        for row in rows.tolist():
            add(row)
        return seen
    with progress("decode: ranges", len(rows), 0, "img") as tick, ThreadPoolExecutor(workers(), "ranges") as pool:
        for _ in pool.map(add, rows.tolist()):
            tick()
    return seen


def _settle(seen: _Seen, settings: PixelSettings, name: str) -> Decision:
    lines: list[str] = []
    bands = settings.chosen_bands()
    first = None
    if seen.shapes:
        try:
            first = _layout(seen.shapes, None if bands else settings.channels)
        except DecodeError as error:
            raise UserError(f"'{name}': {error}.") from error
        shape = sorted(seen.shapes)[0]
        if first:
            lines.append(f"arrays of {'×'.join(map(str, shape))} are {shape[0]} channels of {shape[1]}×{shape[2]}")
    pages = len(seen.bands) <= 1
    if seen.bands:
        counts = ", ".join(map(str, sorted(seen.bands)))
        lines.append(
            f"the {counts} pages or bands of each file are its channels (choose some with data.bands=1,2,…)"
            if pages
            else f"the files have {counts} pages or bands; of pages only the first is used"
        )
    ranges: dict[str, Range] = {}
    for kind, held in seen.kinds.items():
        ranges[kind], line = _range(kind, held, settings, name)
        lines.append(line)
    given = None if seen.kinds else settings.given_range(None)
    if given is not None:
        ranges["bytes"] = given
        lines.append(f"8-bit, values {given[0]:g}..{given[1]:g} become 0..255, as asked for")
    rule = PixelRule(
        **ranges,
        beyond="cut" if settings.window is not None else "said",
        bands=bands,
        alpha=settings.last_is_alpha(),
        channels_first=first,
        pages=pages,
    )
    return Decision(rule, tuple(f"'{name}': {line}" for line in lines))


def _layout(shapes: set[tuple[int, ...]], channels: int | None) -> bool | None:
    """Whether all arrays are (C, H, W); ``None`` if some are and some are not, and each shape tells by itself."""
    try:
        return channels_lead(shapes, channels)
    except DecodeError:
        if len({channels_lead([shape], channels) for shape in shapes}) == 1:
            raise
        return None


def _range(kind: str, held: _Kind, settings: PixelSettings, name: str) -> tuple[Range, str]:
    """The values that become 0 and 255, and the line that says so."""
    sample = np.concatenate(held.sample)
    types = "/".join(sorted(held.types))
    found = f"{types}, values {held.low:g}..{held.high:g}"
    given = settings.given_range(sample)
    low, high = given or (_of_integers if kind == "integers" else _of_floats)(held, found, name)
    line = f"{found}{_of_type(held)}: {low:g}..{high:g} become 0..255" + (", as asked for" if given else "")
    if not given:
        darkest = min(held.types.values())
        if darkest * 16 < high and len(held.types) > 1:
            dark = min(held.types, key=lambda each: held.types[each])
            line += (
                f"; but the {dark} images hold no more than {darkest:g} and come out nearly black: "
                "save them as the others are, or set data.range"
            )
        line += _loss(sample, low, high)
    return (low, high), line


def _of_type(held: _Kind) -> str:
    """`` of 65535``, where integers have one type of no more bits."""
    types = [np.dtype(name) for name in held.types]
    return f" of {np.iinfo(types[0]).max}" if len(types) == 1 and types[0].str[1:] in ("i2", "u2") else ""


def _of_integers(held: _Kind, found: str, name: str) -> Range:
    """The depth of a camera that just holds all values: 8, 10, 12, 14 or 16 bits."""
    if held.low < 0 or held.high > 65535:
        if held.within(0, 65535) >= _NEARLY_ALL:  # a few damaged images: cut off, and said
            return 0, 65535
        raise UserError(
            f"'{name}': {found}, and nothing says which of them are black and white; say it with "
            f"data.range={held.low:g}..{held.high:g}, or cut off extremes with data.window=1%..99%."
        )
    return 0, next(2**depth - 1 for depth in _DEPTHS if held.high < 2**depth)


def _of_floats(held: _Kind, found: str, name: str) -> Range:
    """0..1 or 0..255, of which rounding errors may be left out; anything else is asked."""
    for high, least in ((1.0, 0.0), (255.0, 16.0)):
        slack = high / 510
        if held.high >= least and held.within(-slack, high + slack) >= _NEARLY_ALL:
            return 0.0, high
    raise UserError(
        f"'{name}': {found}, neither 0..1 nor 0..255; say what becomes black and white with "
        f"data.range={held.low:g}..{held.high:g}, or cut off extremes with data.window=1%..99%."
    )


def _loss(sample: Array, low: float, high: float) -> str:
    """A warning where most values share a few levels although they differ, and a narrower range would keep more."""
    for share in (98, 90):
        least, most = (float(value) for value in np.percentile(sample, [50 - share / 2, 50 + share / 2]))
        middle = sample[(sample >= least) & (sample <= most)]
        before = len(np.unique(middle))
        after = len(np.unique(np.rint(np.clip((middle - low) * (255 / (high - low)), 0, 255))))
        if after < _FEW and before > 2 * after and (most - least) < (high - low) / 2:
            return (
                f"; but {share} % of the values lie in {least:g}..{most:g} and keep only {after} levels: "
                f"data.window={least:g}..{most:g} keeps more"
            )
    return ""
