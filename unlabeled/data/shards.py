"""Webdataset shards as a source: plain tar files whose members share a name up to the first dot."""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.data.decode import EXTENSIONS
from unlabeled.data.files import files_identity
from unlabeled.data.images import BadFile, Labels
from unlabeled.data.listing import (
    TEST_NAMES,
    TRAIN_NAMES,
    Listing,
    digest,
    number_classes,
    printable,
    split_rows,
)  # fmt: skip

_LABEL_FIELDS = ("cls", "label", "class", "target")


class _Member(NamedTuple):
    shard: str
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Read the member's bytes, without trusting the size its header claims."""
        with Path(self.shard).open("rb") as file:
            held = os.fstat(file.fileno()).st_size - self.offset
            file.seek(self.offset)
            return file.read(max(min(self.size, held), 0))


class _Sample(NamedTuple):
    image: _Member
    label: str | None


def webdataset(pattern: str, split: str, held: float | None = None) -> Listing:
    """List the images of the shards that ``pattern`` names (``*`` and ``{000..099}`` expand; a folder means its tars).

    Labels are the members ``.cls`` (a number or text) or a field ``label`` of ``.json``; nothing is ever unpickled.
    Shards with ``train`` and ``test`` or ``val`` in their names are the splits.

    Raises:
        UserError: no shard matches, or none holds an image.
    """
    shards = sorted({shard for part in _expand(os.path.expanduser(pattern)) for shard in _match(part)})  # noqa: PTH111
    if not shards:
        raise UserError(f"no .tar shard matches {printable(pattern)}; check the path or the pattern.")
    train, test = _named(shards, TRAIN_NAMES), _named(shards, TEST_NAMES)
    honoured = bool(train and test)
    samples: dict[str, list[_Sample]] = {}
    bad: list[BadFile] = []
    wanted = (test if split == "test" else train) if honoured else train or shards
    for shard in sorted({*train, *test}) if honoured else wanted:
        found, reason = _index(shard)
        samples[shard] = found
        if reason and shard in wanted:
            bad.append(BadFile(printable(shard), reason))
    chosen = [sample for shard in wanted for sample in samples[shard]]
    if not chosen:
        why = f" ({bad[0].path}: {bad[0].reason})" if bad else ""
        raise UserError(f"the shards {printable(pattern)} hold no images for '{split}'{why}.")
    numbers, classes, lines = _numbered(samples, chosen, printable(pattern))
    how = _Split(honoured, bool(train), held)
    return _listing([sample.image for sample in chosen], numbers, classes, lines, split, pattern, bad, how)


def _numbered(
    samples: dict[str, list[_Sample]], chosen: Sequence[_Sample], shown: str
) -> tuple[Labels | None, tuple[str, ...] | None, tuple[str, ...]]:
    """Return the labels of the chosen samples (-1: none), the names of all, and a line if some have none."""
    known = [s.label for shard in samples for s in samples[shard] if s.label is not None]
    if not known:
        return None, None, ()
    _, names = number_classes(known)
    number: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    labels = np.array([number.get(sample.label, -1) for sample in chosen], dtype=np.int64)
    empty = int((labels < 0).sum())
    line = f"{empty:,} of {len(labels):,} images of {shown} have no label"
    return labels, tuple(map(printable, names)), (line,) if empty else ()


class _Split(NamedTuple):
    """How the split came about: by names of shards, or by holding some images of those that are there."""

    honoured: bool
    only_train: bool
    held: float | None


def _listing(
    images: Sequence[_Member],
    numbers: Labels | None,
    classes: tuple[str, ...] | None,
    lines: tuple[str, ...],
    split: str,
    pattern: str,
    bad: Sequence[BadFile],
    how: _Split,
) -> Listing:
    rows, note = None, ""
    if not how.honoured:
        rows, note = split_rows(
            len(images), numbers, split, printable(pattern), held=how.held, only_train=how.only_train
        )
    shards = sorted({image.shard for image in images})
    return Listing(
        read=lambda i: images[i].read(),
        names=[printable(f"{image.shard}/{image.name}") for image in images],
        identity=digest(files_identity(Path.cwd(), shards), [image[1:] for image in images]),
        labels=numbers,
        classes=classes,
        paths=True,
        rows=rows,
        place=f"shards {pattern} {Path.cwd()} {split if how.honoured else 'all'}",
        lines=lines,
        bad=tuple(bad),
        note=note,
    )


def _expand(pattern: str) -> Iterator[str]:
    """Expand ``{000..099}`` as a shell does."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        yield pattern
        return
    width = len(match[1])
    for number in range(int(match[1]), min(int(match[2]), int(match[1]) + 10**6) + 1):
        yield from _expand(f"{pattern[: match.start()]}{number:0{width}}{pattern[match.end() :]}")


def _match(part: str) -> list[str]:
    if Path(part).is_dir():
        return glob.glob(os.path.join(glob.escape(part), "*.tar"))  # noqa: PTH118, PTH207
    return [part] if Path(part).is_file() else glob.glob(part, recursive=True)  # noqa: PTH207


def _named(shards: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the shards with the first of ``names`` that any shard has as a word of its file name."""
    words = {shard: re.split(r"[^a-z]+", Path(shard).name.lower()) for shard in shards}
    return next((found for name in names if (found := [s for s in shards if name in words[s]])), [])


def _index(shard: str) -> tuple[list[_Sample], str | None]:
    """Return the samples of a shard, and why it ends early if it does."""
    images: dict[str, _Member] = {}
    labels: dict[str, str] = {}
    reason, end = None, 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for entry in archive:
                end = entry.offset_data + -(-entry.size // 512) * 512
                folder, _, base = entry.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if not entry.isreg() or entry.issparse() or not stem:
                    continue
                key = f"{folder}/{stem}"
                member = _Member(shard, entry.name, entry.offset_data, entry.size)
                if "." + extension.lower().rpartition(".")[2] in EXTENSIONS:
                    images.setdefault(key, member)
                elif extension.lower() in ("cls", "json") and entry.size < 1 << 20:
                    label = _label(member.read(), extension.lower())
                    labels |= {} if label is None else {key: label}
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        reason = printable(str(error))[:200] or "not a tar file"
    else:
        # tarfile takes a cut or damaged archive for a shorter one; a whole one goes on with a block of zeros.
        if _Member(shard, "", end, 512).read() != bytes(512):
            reason = "the archive is cut off or damaged"
    if reason:
        last = next(reversed(images), "")
        if labels and last not in labels:  # its label was cut off
            images.pop(last, None)
    return [_Sample(image, labels.get(key)) for key, image in images.items()], reason


def _label(data: bytes, extension: str) -> str | None:
    with suppress(ValueError, RecursionError):
        if extension == "cls":
            return data.decode().strip() or None
        fields = json.loads(data)
        found = (
            next((fields[name] for name in _LABEL_FIELDS if name in fields), None) if isinstance(fields, dict) else None
        )
        return str(found) if isinstance(found, (str, int)) else None
    return None
