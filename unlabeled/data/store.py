"""The pixel store: a source is decoded once into one memory-mapped uint8 array (N, C, H, W).

A store is a folder named by the fingerprint of its source:

- ``pixels.u8``: the rows, nothing else; rows of unreadable images are black.
- ``journal``: one line per finished chunk of rows, written after the chunk's pixels have reached the disk, with
  their hash. A killed process leaves at worst a torn last line; what no line vouches for is decoded again.
- ``manifest.json``: written last, and only for a whole store; it holds the size and time of ``pixels.u8``. A store
  that no longer matches its manifest is checked chunk by chunk against the journal and mended.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write, atomic_write_json, explained, locked, sweep
from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import progress
from unlabeled.data import decode
from unlabeled.data.cache import remove_older
from unlabeled.data.images import BadFile, Pixels
from unlabeled.data.listing import Listing, digest, origin_of, printable
from unlabeled.data.ondemand import Shape, decode_into, refuse, workers

FORMAT = 2
_CHUNK_BYTES, _CHUNK_ROWS = 4 << 20, 1024

Bad = list[tuple[int, str]]
Said = dict[str, int]
"""How many images lost what (``decode.REMARKS``)."""


class Stored(NamedTuple):
    """A whole store: its pixels (N, C, H, W), the rows that could not be read, a hash of both, and what was lost."""

    pixels: Pixels
    bad: Bad
    fingerprint: str
    said: Said


class _Chunk(NamedTuple):
    hash: str
    bad: Bad
    said: Said


def store_key(listing: Listing, shape: Shape, rule: PixelRule) -> str:
    """The name of a store: everything its pixels depend on."""
    return digest("store", FORMAT, decode.VERSION, listing.identity, len(listing.names), shape, rule.asdict())


def prepare(
    listing: Listing, shape: Shape, rule: PixelRule, *, name: str, max_bad_fraction: float, cache: Path
) -> Stored:
    """Return the store of ``listing`` in ``cache``, decoding what is missing; other processes wait meanwhile.

    Raises:
        UserError: more than ``max_bad_fraction`` of the images are unreadable, or the disk is full.
    """
    folder = cache / "pixels" / store_key(listing, shape, rule)
    store = _Store(folder, listing, shape, rule, name, max_bad_fraction)
    stored = store.whole()
    if stored is None:
        with locked(folder.with_suffix(".lock"), waiting=f"another process is decoding '{name}'"), explained(folder):
            sweep(folder)
            stored = store.whole() or store.decode()
        remove_older(folder, store.place)
    store.limit(stored.bad)
    return stored


class _Store:
    def __init__(
        self, folder: Path, listing: Listing, shape: Shape, rule: PixelRule, name: str, max_bad_fraction: float
    ) -> None:
        self.folder, self.listing, self.rule = folder, listing, rule
        self.name, self.max_bad_fraction = name, max_bad_fraction
        self.place = digest(listing.place, shape, rule.asdict()) if listing.place else ""
        self.shape = (len(listing.names), *shape)
        self.row_bytes = int(np.prod(shape))
        self.chunk_rows = min(max(_CHUNK_BYTES // self.row_bytes, 16), _CHUNK_ROWS)
        self.pixels, self.journal = folder / "pixels.u8", folder / "journal"

    def whole(self) -> Stored | None:
        """Return the store if it is complete and untouched since."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_bytes())
            state = self.pixels.stat()
            expected = [FORMAT, list(self.shape), state.st_size, state.st_mtime_ns]
            if [manifest[key] for key in ("format", "shape", "size", "mtime_ns")] != expected:
                return None
            bad = _checked(manifest["bad"], self.shape[0])
            fingerprint, said = str(manifest["fingerprint"]), _counts(manifest["said"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return None if state.st_size != self.shape[0] * self.row_bytes else self._open(bad, fingerprint, said)

    def _open(self, bad: Bad, fingerprint: str, said: Said) -> Stored:
        return Stored(np.memmap(self.pixels, np.uint8, "r", shape=self.shape), bad, fingerprint, said)

    def decode(self) -> Stored:
        """Decode every chunk that the journal does not vouch for, then write the manifest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        self.pixels.touch()
        with self.pixels.open("r+b", buffering=0) as file:
            self._check_space(file)
            file.truncate(self.shape[0] * self.row_bytes)
            chunks = self._vouched(file)
            missing = [c for c in range(-(-self.shape[0] // self.chunk_rows)) if c not in chunks]
            if missing:
                self._decode_chunks(file, missing, chunks)
        bad = [entry for number in sorted(chunks) for entry in chunks[number].bad]
        hashes = "".join(chunks[number].hash for number in sorted(chunks))
        fingerprint = digest("pixels", self.shape, hashes, [row for row, _ in bad])
        said = dict(sum((Counter(chunk.said) for chunk in chunks.values()), Counter[str]()))
        state = self.pixels.stat()
        atomic_write_json(
            self.folder / "manifest.json",
            {
                "format": FORMAT, "source": printable(self.name), "shape": list(self.shape), "size": state.st_size,
                "mtime_ns": state.st_mtime_ns, "fingerprint": fingerprint, "bad": bad, "said": said,
                "place": self.place, "origin": origin_of(self.listing), "made": time.time(),
            },
        )  # fmt: skip
        return self._open(bad, fingerprint, said)

    def _check_space(self, file: FileIO) -> None:
        state = os.fstat(file.fileno())
        missing = self.shape[0] * self.row_bytes - getattr(state, "st_blocks", 0) * 512
        free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise UserError(
                f"decoding '{self.name}' needs {missing / 1e9:.1f} GB in {self.folder.parent}, where {free / 1e9:.1f} "
                "GB are free; free some space, set $UNLABELED_CACHE to a larger disk, or choose a smaller size."
            )

    def _vouched(self, file: FileIO) -> dict[int, _Chunk]:
        """Return the chunks whose journal line and pixels are sound, and rewrite the journal to just these."""
        chunks: dict[int, _Chunk] = {}
        lines = self.journal.read_bytes().split(b"\n")[:-1] if self.journal.exists() else []
        for line in lines:
            with suppress(ValueError, LookupError, TypeError):
                if int(line[:8], 16) == zlib.crc32(line[9:]):
                    number, hashed, bad, said = json.loads(line[9:])
                    chunks[int(number)] = _Chunk(str(hashed), _checked(bad, self.shape[0]), _counts(said))
        for number, chunk in list(chunks.items()):
            start, stop = self._span(number)
            file.seek(start * self.row_bytes)
            data = file.read((stop - start) * self.row_bytes)
            if stop <= start or _hash(data) != chunk.hash:
                del chunks[number]
        atomic_write(self.journal, lambda handle: handle.writelines(map(_line, chunks, chunks.values())))
        return chunks

    def _span(self, number: int) -> tuple[int, int]:
        return number * self.chunk_rows, min((number + 1) * self.chunk_rows, self.shape[0])

    def _decode_chunks(self, file: FileIO, missing: Sequence[int], chunks: dict[int, _Chunk]) -> None:
        total = self.shape[0]
        done = total - sum(stop - start for start, stop in map(self._span, missing))
        bad = [entry for chunk in chunks.values() for entry in chunk.bad]
        with (
            warnings.catch_warnings(),
            self.journal.open("ab") as journal,
            progress("decode", total, done, "img") as tick,
        ):
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is listed with the bad files
            for number, array, chunk in self._decoded(missing):
                start, stop = self._span(number)
                data = array.reshape(-1).data
                file.seek(start * self.row_bytes)
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
                journal.write(_line(number, chunk))
                journal.flush()
                os.fsync(journal.fileno())
                chunks[number] = chunk
                bad += chunk.bad
                self.limit(bad, done := done + stop - start)
                tick(stop - start, f"{len(bad)} unreadable" if bad else "")

    def _decoded(self, missing: Sequence[int]) -> Iterator[tuple[int, Pixels, _Chunk]]:
        """Decode chunks in threads (Pillow works outside the interpreter's lock), a few ahead of the writer."""
        ahead: deque[tuple[int, Future[tuple[Pixels, Bad, Said]]]] = deque()
        pool = ThreadPoolExecutor(workers(), "decode")
        try:
            for number in missing:
                ahead.append((number, pool.submit(self._decode_rows, *self._span(number))))
                if len(ahead) > 2 * workers():
                    yield self._result(*ahead.popleft())
            while ahead:
                yield self._result(*ahead.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _result(number: int, future: Future[tuple[Pixels, Bad, Said]]) -> tuple[int, Pixels, _Chunk]:
        array, bad, said = future.result()
        return number, array, _Chunk(_hash(array.tobytes()), bad, said)

    def _decode_rows(self, start: int, stop: int) -> tuple[Pixels, Bad, Said]:
        out = np.empty((stop - start, *self.shape[1:]), dtype=np.uint8)
        bad: Bad = []
        lost = Counter[str]()
        for row in range(start, stop):
            said: set[str] = set()
            reason = decode_into(self.listing, row, out[row - start], self.rule, said)
            if reason is not None:
                bad.append((row, reason))
            else:
                lost.update(said)
        return out, bad, dict(lost)

    def limit(self, bad: Bad, seen: int | None = None) -> None:
        if len(bad) + len(self.listing.bad) > self.max_bad_fraction * self.shape[0]:
            files = [BadFile(self.listing.names[row], reason) for row, reason in sorted(bad)]
            refuse(self.name, [*self.listing.bad, *files], self.max_bad_fraction, self.shape[0], seen)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _line(number: int, chunk: _Chunk) -> bytes:
    text = json.dumps([number, chunk.hash, chunk.bad, chunk.said]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _counts(said: Any) -> Said:
    return {str(remark): int(count) for remark, count in said.items() if remark in decode.REMARKS}


def _checked(bad: Any, total: int) -> Bad:
    entries = [(int(row), str(reason)) for row, reason in bad]
    if any(not 0 <= row < total for row, _ in entries):
        raise ValueError("a bad row outside the store")
    return entries
