"""Rows decoded one by one: what the store is filled with, and what sources too large to store are read through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NoReturn

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import DecodeError, PixelRule
from unlabeled.core.progress import say
from unlabeled.data.decode import REMARKS, decode
from unlabeled.data.images import BadFile, Pixels, Rows
from unlabeled.data.listing import Listing, printable

Shape = tuple[int, int, int]
"""Channels, height, width."""


def workers() -> int:
    """How many threads decode: one a core that this process may use, 16 at most."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 16)


def decode_into(listing: Listing, row: int, out: Pixels, rule: PixelRule, said: set[str]) -> str | None:
    """Decode image ``row`` into ``out`` (C, H, W); if it is unreadable, blacken ``out`` and return the reason.

    ``said`` receives what was lost of it, as keys of ``decode.REMARKS``.
    """
    channels, height, width = out.shape
    try:
        out[:] = decode(listing.read(row), height, width, channels, rule, said).transpose(2, 0, 1)
    except DecodeError as error:
        reason = str(error)
    except Exception as error:  # from reading: a damaged archive, or another library's own decoder
        reason = printable(str(error) or type(error).__name__)[:200]
    else:
        return None
    out[:] = 0
    return reason


def refuse(name: str, bad: Sequence[BadFile], fraction: float, total: int, seen: int | None = None) -> NoReturn:
    """Say that too many images are unreadable, and name the first ones."""
    first = "; ".join(f"{path} ({reason})" for path, reason in bad[:3])
    of = f"{total}" if seen in (None, total) else f"the first {seen} (of {total})"
    raise UserError(
        f"{len(bad)} of {of} images of '{name}' cannot be read, and data.max_bad_fraction={fraction:g} allows "
        f"{int(fraction * total)}: {first}{'; …' if len(bad) > 3 else ''}. Mend or remove them, or raise the limit."
    )


class OnDemand:
    """Pixels decoded again for every batch, for sources too large to store. Unreadable images come out black."""

    def __init__(
        self,
        listing: Listing,
        shape: Shape,
        rule: PixelRule,
        *,
        name: str,
        max_bad_fraction: float,
        mute: frozenset[str] = frozenset(),
    ) -> None:
        self.shape = (len(listing.names), *shape)
        self._listing, self._rule, self._name, self._fraction = listing, rule, name, max_bad_fraction
        self._bad: dict[int, str] = {}
        self._said = set(mute)
        self._lock = Lock()

    def take(self, rows: Rows, out: Pixels) -> None:
        """Decode ``rows`` into ``out`` (B, C, H, W) with a thread a core.

        Raises:
            UserError: more than the allowed fraction of the images have proven unreadable.
        """
        # A pool per call costs little beside decoding, and none is left behind in a forked worker.
        with ThreadPoolExecutor(workers(), "decode") as pool:
            said = [set[str]() for _ in rows]
            places = zip(rows.tolist(), out, said, strict=True)
            reasons = list(pool.map(lambda a: decode_into(self._listing, a[0], a[1], self._rule, a[2]), places))
        with self._lock:
            for remark in sorted(set[str]().union(*said) - self._said):  # each is said once
                say(REMARKS[remark].format(n="some", name=self._name))
            self._said.update(*said)
            self._bad |= {int(row): reason for row, reason in zip(rows, reasons, strict=True) if reason is not None}
        bad = self.bad_files()
        if len(bad) > self._fraction * self.shape[0]:
            refuse(self._name, bad, self._fraction, self.shape[0])

    def bad_files(self) -> tuple[BadFile, ...]:
        """The unreadable images met so far."""
        with self._lock:
            bad = sorted(self._bad.items())
        return self._listing.bad + tuple(BadFile(self._listing.names[row], reason) for row, reason in bad)
