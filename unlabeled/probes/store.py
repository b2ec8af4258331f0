"""The file behind a feature bank: written batch by batch, resumable, shared by ranks, never half believed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as torch_dist
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, explained, locked, open_binary, read_at, remove, sweep, write_at
from unlabeled.core.progress import progress

Rows = npt.NDArray[np.int64]
SYNC_ROWS = 8192  # rows between two points from which an interrupted extraction can go on


LOST_SHARE = 0.02
"""Of a feature's spread, that rounding to float16 may take."""
CHECKED_ROWS = 16
"""Fewer rows say nothing of a feature's spread."""


class ExceedFloat16(UserError):
    """Features are finite, but float16 cannot hold them: they are beyond 65504, or their spread is lost in rounding."""


class Store:
    """(N, D) features in ``folder/key/features.bin``, with a journal of the batches that are surely on disk.

    Rows are written through ``pwrite`` and not through a memory map: a full disk is then an error and no SIGBUS,
    and the pages written do not count as this process's memory.
    """

    def __init__(
        self, folder: Path | None, key: str, n: int, dtype: type[np.floating[Any]], batch: int, *, origin: str = ""
    ) -> None:
        self.folder, self.key, self.n, self.dtype, self.batch = folder, key, n, np.dtype(dtype), batch
        self.about = {"batch": batch, "origin": origin}
        """Also says whose features they are, so that they are found when the images are to be deleted."""

    def fill(
        self, gather: Callable[[Rows], Tensor], embed: Callable[[Tensor], Tensor], device: torch.device
    ) -> npt.NDArray[Any]:
        """Return the finished features, computing what is missing: ``embed(gather(rows))`` is (B, D) float32."""
        with self._home() as home:
            found = self._finished(home)
            if found is None:
                found = self._extract(home, gather, embed, device)
            dist_barrier()
        return found

    @contextmanager
    def _home(self) -> Iterator[Path]:
        if self.folder is not None:
            home = self.folder / self.key
            if dist.rank():
                dist_barrier()  # rank 0 holds the lock for all
                yield home
            else:
                with locked(self.folder / f"{self.key}.lock", waiting="another process extracts these features"):
                    sweep(home)
                    dist_barrier()
                    yield home
            return
        names: list[str | None] = [None]
        if not dist.rank():
            names[0] = tempfile.mkdtemp(prefix="unlabeled-features-")
        if dist.active():
            torch_dist.broadcast_object_list(names)
        home = Path(str(names[0]))
        try:
            yield home
        finally:
            if not dist.rank():  # the memory map outlives the name of its file
                shutil.rmtree(home, ignore_errors=True)

    def _finished(self, home: Path) -> npt.NDArray[Any] | None:
        try:
            manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
            size, dim = (home / "features.bin").stat().st_size, int(manifest["dim"])
            whole = manifest["complete"] is True and size == self.n * dim * self.dtype.itemsize > 0
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return self._map(home, dim) if whole else None

    def _map(self, home: Path, dim: int) -> npt.NDArray[Any]:
        return np.memmap(home / "features.bin", self.dtype, "r", shape=(self.n, dim))

    def _extract(
        self, home: Path, gather: Callable[[Rows], Tensor], embed: Callable[[Tensor], Tensor], device: torch.device
    ) -> npt.NDArray[Any]:
        def load(block: int) -> Tensor:
            rows = np.arange(block * batch, min((block + 1) * batch, self.n))
            pixels = gather(rows)
            if device.type == "cuda":
                return pixels.pin_memory().to(device, non_blocking=True)
            return pixels.to(device)

        # A resumed extraction goes on in the batches it began with: the journal counts them.
        batch = self._opened(home)
        count = -(-self.n // batch)
        with explained(home / "features.bin"):
            data = open_binary(home / "features.bin")
            journal = open_binary(home / "journal.bin")
        try:
            done = np.frombuffer(read_at(journal, count, 0).ljust(count, b"\0"), np.uint8)
            mine = [b for b in range(dist.rank(), count, dist.world_size()) if not done[b]]
            dim, waiting, late = 0, list[int](), list[tuple[int, Tensor]]()
            with (
                ThreadPoolExecutor(1) as reader,
                progress("features", self.n, done=min(int(done.sum()) * batch, self.n), unit="img") as tick,
            ):
                coming = reader.submit(load, mine[0]) if mine else None
                for position in range(len(mine) + 1):
                    # A batch is fetched back only after the next one was launched, so that a GPU never waits.
                    if coming is not None:
                        late.append((mine[position], embed(coming.result())))
                        following = position + 1 < len(mine)
                        coming = reader.submit(load, mine[position + 1]) if following else None
                    if len(late) == 2 or (late and position == len(mine)):
                        block, out = late.pop(0)
                        values = self._checked(out, block * batch)
                        dim = values.shape[1]
                        with explained(home / "features.bin"):
                            _write(data, values, block * batch * dim * self.dtype.itemsize)
                            waiting.append(block)
                            if len(waiting) * batch >= SYNC_ROWS or block == mine[-1]:
                                _commit(data, journal, waiting)
                                waiting.clear()
                        tick(len(values) * dist.world_size())
        finally:
            os.close(data)
            os.close(journal)
        dist_barrier()
        dim = dim or (home / "features.bin").stat().st_size // (self.n * self.dtype.itemsize)
        if not dist.rank():
            atomic_write_json(home / "manifest.json", {**self.about, "batch": batch, "dim": dim, "complete": True})
            (home / "journal.bin").unlink()
        return self._map(home, dim)

    def _opened(self, home: Path) -> int:
        """Make or reopen the files (rank 0) and return the batch size they are written in."""
        if not dist.rank():
            with explained(home):
                home.mkdir(parents=True, exist_ok=True)
                if not self._resumable(home):
                    # new files in place of the old ones: another process may still read those through a memory map
                    for name in ("manifest.json", "journal.bin", "features.bin"):
                        remove(home / name)
                    for name in ("features.bin", "journal.bin"):
                        (home / name).write_bytes(b"")
                    atomic_write_json(home / "manifest.json", {**self.about, "complete": False})
        dist_barrier()
        return int(json.loads((home / "manifest.json").read_text(encoding="utf-8"))["batch"])

    @staticmethod
    def _resumable(home: Path) -> bool:
        try:
            manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
            sound = manifest["complete"] is False and isinstance(manifest["batch"], int) and manifest["batch"] > 0
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return sound and all((home / name).is_file() for name in ("features.bin", "journal.bin"))

    def _checked(self, out: Tensor, first: int) -> npt.NDArray[Any]:
        stored = torch.float16 if self.dtype == np.float16 else torch.float32
        values: npt.NDArray[Any] = out.to(stored).cpu().numpy()
        if not np.isfinite(values).all():
            last = first + len(values) - 1
            if self.dtype == np.float16 and torch.isfinite(out).all():
                raise ExceedFloat16(f"features of images {first}-{last} exceed float16; use dtype='float32'.")
            raise UserError(f"features of images {first}-{last} are NaN or infinite: the model has diverged.")
        if self.dtype == np.float16 and lost_to_rounding(out):
            raise ExceedFloat16(
                "float16 would lose the differences between these features (a large offset, or very small values); use "
                "dtype='float32'."
            )
        return values


def lost_to_rounding(rows: Tensor) -> bool:
    """Whether float16 takes more than ``LOST_SHARE`` of the spread of some of the (B, D) features."""
    if len(rows) < CHECKED_ROWS:
        return False
    rows = rows.float()
    spread = rows.std(0)
    error = (rows - rows.half().float()).square().mean(0).sqrt()
    # what hardly varies beside the others is constant apart from rounding, which float16 may lose
    real = spread > 1e-5 * spread.max()
    return bool((error > LOST_SHARE * spread)[real].any())


def _write(descriptor: int, values: npt.NDArray[Any], offset: int) -> None:
    view = np.ascontiguousarray(values).data.cast("B")
    while view:
        written = write_at(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _commit(data: int, journal: int, blocks: list[int]) -> None:
    """Mark blocks as done, after and only after their rows have reached the disk."""
    os.fsync(data)
    for block in blocks:
        write_at(journal, b"\1", block)
    os.fsync(journal)


def dist_barrier() -> None:
    """Wait for all ranks."""
    if dist.active():
        torch_dist.barrier()
