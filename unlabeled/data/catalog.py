"""The one door to data: a name, a path or a prefixed source in, an :class:`ImageSet` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import cache_dir
from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import say
from unlabeled.data.decide import Decision, decide
from unlabeled.data.decode import REMARKS
from unlabeled.data.files import folder
from unlabeled.data.hub import hugging_face, through_timm
from unlabeled.data.images import BadFile, ImageSet, Pixels, Source
from unlabeled.data.listing import Listing, origin_of, printable
from unlabeled.data.named import MINI_DESCRIPTION, NAMED, find, open_named
from unlabeled.data.noise import noise
from unlabeled.data.npz import npz
from unlabeled.data.ondemand import OnDemand, Shape
from unlabeled.data.settings import PixelSettings
from unlabeled.data.shape import decoded_shape
from unlabeled.data.shards import webdataset
from unlabeled.data.store import Bad, prepare, store_key
from unlabeled.data.tables import table


class Reader(NamedTuple):
    """A kind of source, known by a prefix (``csv:FILE``) or by the end of a file's name."""

    read: Callable[..., Listing]
    takes: str
    description: str = ""
    """For `unlabeled data`; a kind without one is another spelling."""


READERS = {
    "folder": Reader(
        folder, "PATH", "images at any depth (a bare path will do); class subfolders and train/ + test/ are honoured"
    ),
    "csv": Reader(
        table, "FILE", "a table with a column path|file|filename|image and perhaps label|class|target and split"
    ),
    "tsv": Reader(table, "FILE"),
    "parquet": Reader(table, "FILE", "the same as a Parquet file (needs the extra 'tables')"),
    "npz": Reader(npz, "FILE", "numpy arrays images|x|X and labels|y, or x_train, y_train, x_test, y_test"),
}
FORMATS = {f"{kind}:{reader.takes}": reader.description for kind, reader in READERS.items() if reader.description} | {
    "hfds/FOLDER": "a Hugging Face data set saved on disk (needs the extra 'datasets')",
    "wds/GLOB": "webdataset shards: .tar files of images with .cls or .json beside them",
    "noise:N": "N images of Gaussian noise, 32×32 in colour unless asked otherwise",
    "torch/NAME": "anything that timm's data set factory opens",
}


class _Asked(NamedTuple):
    """What was asked for, as readers of sources need it."""

    name: str
    data_dir: Path | None
    size: int | None
    channels: int | None
    held: float | None
    label: str | None


class DataEntry(NamedTuple):
    """A data set, or a kind of source, that can be opened."""

    name: str
    description: str
    found: Path | str | None
    """Where a named data set lies on this machine; ``None``: nowhere, or ``name`` is a pattern."""
    kind: Literal["named", "format"] = "named"


def list_data(data_dir: str | Path | None = None) -> list[DataEntry]:
    """List what can be opened by name, where it lies on this machine, and the other kinds of sources."""
    root = None if data_dir is None else _path(data_dir)
    entries = [DataEntry("fashion-mini", MINI_DESCRIPTION, "inside the package")]
    entries += [DataEntry(name, entry.description, find(name, root)) for name, entry in NAMED.items()]
    return entries + [DataEntry(name, text, None, "format") for name, text in FORMATS.items()]


def open_data(
    name: str,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    range: str | None = None,
    window: str | None = None,
    bands: str | None = None,
    holdout: float | None = None,
    label: str | None = None,
    rule: PixelRule | None = None,
    max_bad_fraction: float = 0.01,
    cache: str | Path | None = None,
    store: bool = True,
) -> ImageSet:
    """Open a split of a data set as uint8 images.

    Args:
        name: see :func:`list_data`; a bare path opens a folder, ``.csv``, ``.parquet`` or ``.npz``.
        split: ``"train"`` or ``"test"``. A source without a test split is split 80/20, always in the same way;
            ``"all"`` is all of it (and the training split of a source that has splits of its own).
        data_dir: where to look for data sets known by name first, and to download them to.
        size: side in pixels to which images are cropped and resized; default: their own size if they share one
            of at most 256 pixels, else 32.
        channels: 1 (gray), 3 (RGB), 4 (RGBA) or the number of channels of an array; default: the images' own.
        range: ``"LOW..HIGH"``: the values that become black and white, where nothing else tells (docs/pixels.md).
        window: the same, cutting off values outside; percentiles are taken over the training images (``"1%..99%"``).
        bands: ``"4,3,2"``: the bands to use, counted from 1; ``"la"``, ``"rgba"``: the last is transparency.
        holdout: the fraction that is held out for testing of a source without a test split; default: a fifth, and
            nothing of a source that calls all of it training images.
        label: the column of a table that holds the labels.
        rule: what the numbers mean, if that was decided before (``ImageSet.rule``).
        max_bad_fraction: which fraction of the images may be unreadable.
        cache: where decoded images are kept; default: ``$UNLABELED_CACHE`` or the user's cache folder.
        store: ``False`` decodes on demand, for sources too large to keep decoded.

    Raises:
        UserError: the data cannot be found or read; the message says how to mend it.
    """
    if split not in ("train", "test", "all"):
        raise UserError(f"there is no split '{split}'; choose 'train', 'test' or 'all'.")
    for what, value, most in (("size", size, 16384), ("channels", channels, 1024)):
        if value is not None and not 1 <= value <= most:
            raise UserError(f"data.{what} must lie between 1 and {most}, not {value}.")
    if holdout is not None and not 0 <= holdout < 1:
        raise UserError(f"data.holdout must lie between 0 and 1, not {holdout}.")
    settings = PixelSettings(channels, range, window, bands)
    asked = _Asked(name, None if data_dir is None else _path(data_dir), size, channels, holdout, label)
    listing = _listing(asked, split)
    if not len(listing.names):
        raise UserError(f"'{name}' ({split}) holds no images; point data at a folder or table that does.")
    where = cache_dir() if cache is None else _path(cache)
    training = _training(asked, split, listing)
    decision = decide(training, settings, name, where if store else None) if rule is None else Decision(rule)
    lines = (*listing.lines, *decision.lines)
    for line in lines:
        say(line)
    shape = decoded_shape(name, training, decision.rule, size, channels)
    native = _native(listing, decision.rule, shape)
    if native is not None:
        return _image_set(name, split, listing, native, None, [], decision.rule, lines)
    mute = frozenset() if channels is None and bands is None else frozenset({"colour"})
    if not store:
        source = OnDemand(listing, shape, decision.rule, name=name, max_bad_fraction=max_bad_fraction, mute=mute)
        key = store_key(listing, shape, decision.rule)
        return _image_set(name, split, listing, source, key, [], decision.rule, lines)
    stored = prepare(listing, shape, decision.rule, name=name, max_bad_fraction=max_bad_fraction, cache=where)
    lost = [REMARKS[what].format(n=f"{count:,}", name=name) for what, count in stored.said.items() if what not in mute]
    for line in lost:
        say(line)
    return _image_set(
        name, split, listing, stored.pixels, stored.fingerprint, stored.bad, decision.rule, (*lines, *lost)
    )


def _training(asked: _Asked, split: str, listing: Listing) -> Listing:
    """The training split of the same source: its images decide for all. ``listing`` itself where there is none."""
    if split == "train" or (listing.array is not None and listing.upright):
        return listing
    try:
        found = _listing(asked, "train")
    except UserError:  # a single image
        return listing
    return found if len(found.names) else listing


def _native(listing: Listing, rule: PixelRule, shape: Shape) -> Pixels | None:
    """Pixels (N, C, H, W) that are in memory as they are wanted, or ``None``."""
    array = listing.array
    if array is None or rule.bytes is not None or rule.bands is not None or rule.alpha:
        return None
    if listing.upright or not rule.channels_first:
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array) if array.shape[1:] == shape else None


def table_file(name: str) -> Path | None:
    """The table that data of this name is read from; ``None`` for data of another kind.

    >>> table_file("csv:people.csv"), table_file("fashion-mini")
    (PosixPath('people.csv'), None)
    """
    path, reader = _reader(name)
    return path if reader is not None and reader.read is table else None


def _reader(name: str) -> tuple[Path, Reader | None]:
    """The file that a name means, and what reads it; none for a folder or a name of another kind."""
    kind, _, rest = name.partition(":")
    path = _path(rest if kind in READERS and rest else name)
    return path, READERS.get(kind if rest else "") or READERS.get(path.suffix.lower().lstrip("."))


def _listing(asked: _Asked, split: str) -> Listing:
    try:
        return _listed(asked, split)
    except OSError as error:
        raise UserError(f"'{printable(asked.name)}' cannot be read: {error.strerror or error}.") from error


def _listed(asked: _Asked, split: str) -> Listing:
    name, data_dir, held = asked.name, asked.data_dir, asked.held
    if name == "fashion-mini" or name in NAMED:
        return open_named(name, "test" if split == "test" else "train", data_dir)
    if not name:
        raise UserError("the name of the data is empty; 'unlabeled data' lists what can be opened.")
    kind, _, rest = name.partition(":")
    if kind == "noise":
        return noise(rest, "test" if split == "test" else "train", asked.size or 32, asked.channels or 3)
    prefix, _, below = name.partition("/")
    if prefix == "hfds" and below:
        return hugging_face(str(_path(below)), split, held)
    if prefix == "wds" and below:
        return webdataset(below, split, held)
    path, reader = _reader(name)
    if reader is not None:
        named = {"label": asked.label} if reader.read is table else {}
        return reader.read(path, split, held, **named)
    if path.exists() or name.startswith((".", "/", "~")):
        return folder(path, split, held)
    if prefix in ("torch", "tfds", "hfids") and below:
        return through_timm(name, split, data_dir)
    if "/" in name:
        raise UserError(f"there is no folder {printable(name)}; check the path, or see 'unlabeled data' for names.")
    raise UserError(
        f"there is no data set '{printable(name)}', nor a file or folder of that name here."
        f"{nearest(printable(name), ['fashion-mini', *NAMED, *FORMATS])} 'unlabeled data' lists what can be opened."
    )


def _path(text: str | Path) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _image_set(
    name: str,
    split: str,
    listing: Listing,
    pixels: Pixels | Source,
    fingerprint: str | None,
    bad: Bad,
    rule: PixelRule,
    lines: Sequence[str],
) -> ImageSet:
    total = len(listing.names)
    rows = listing.rows
    if bad:
        good = np.ones(total, dtype=bool)
        good[[row for row, _ in bad]] = False
        rows = np.flatnonzero(good) if rows is None else rows[good[rows]]
    if rows is not None and not len(rows):
        raise UserError(f"not one image of '{name}' ({split}) can be read; see data.max_bad_fraction.")
    whole = ImageSet(
        name,
        split,
        pixels,
        listing.labels,
        listing.classes,
        fingerprint=fingerprint,
        paths=listing.names if listing.paths else None,
        bad_files=[*listing.bad, *(BadFile(listing.names[row], reason) for row, reason in bad)],
        note=listing.note,
        rule=rule,
        lines=lines,
        origin=origin_of(listing),
    )
    return whole if rows is None else whole.subset(rows)
