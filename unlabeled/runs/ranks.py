"""``hardware.devices``: start one process a device on this host, watch them, and say what became of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from unlabeled.core import progress, run_files
from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.core.files import atomic_write_text
from unlabeled.core.launch import ERRORS
from unlabeled.core.threads import share_threads
from unlabeled.core.words import command
from unlabeled.engine.stopping import may_handle
from unlabeled.recipes.resolve import recipe_yaml
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.folder import COMMAND, Run, command_line

GRACE = 15.0
"""Seconds that the other ranks have to end by themselves once one has failed."""
FAILURES = {kind.__name__: kind for kind in (Diverged, UserError, Interrupted)}
"""What a rank may report; where several differ, the first in this order tells most."""


def run_ranks(recipe: Recipe, run: Run, *, resume: bool, overwrite: bool) -> None:
    """Pretrain in ``hardware.devices`` processes of this host, and wait for them.

    Raises:
        UserError, Interrupted, Diverged: what a rank reported; or that one was killed.
    """
    if sys.platform == "win32":
        raise UserError("hardware.devices: several processes need Linux or macOS (on Windows: WSL 2); leave it at 1.")
    count = recipe.hardware.devices
    flags = [*["--resume"] * resume, *["--overwrite"] * overwrite, *["--quiet"] * progress.quiet()]
    with tempfile.TemporaryDirectory(prefix="unlabeled-ranks-") as name:
        folder = Path(name)
        atomic_write_text(folder / run_files.RECIPE, recipe_yaml(recipe))
        command = [sys.executable, "-m", "unlabeled", "pretrain", str(folder / run_files.RECIPE)]
        common = {
            **os.environ,
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            ERRORS: name,
            COMMAND: command_line(),
        }
        share_threads(common, count)
        ranks = [
            subprocess.Popen(
                [*command, "--out", str(run.folder), *flags],
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends: see end_with_parent
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process only, which hands it on
            )
            for rank in range(count)
        ]
        with _signals_handed_on(ranks):
            _wait(ranks)
        _report(ranks, folder, run)


def end_with_parent() -> None:
    """In a process that :func:`run_ranks` started: save and stop when the one that started it has gone."""
    if ERRORS not in os.environ:
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _signals_handed_on(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def hand_on(number: int, _: object) -> None:
        for rank in ranks:
            rank.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM) if may_handle() else ()
    previous = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all; once one has failed, the others lose their connection to it and end, or are ended."""
    deadline: float | None = None
    while None in (codes := [rank.poll() for rank in ranks]):
        if deadline is None and any(codes):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for rank in ranks:
                rank.kill()
        time.sleep(0.1)


def _report(ranks: Sequence[subprocess.Popen[bytes]], folder: Path, run: Run) -> None:
    go_on = f"go on with: {command('pretrain', run.folder, '--resume')}"
    reports: list[tuple[str, str]] = []
    silent: list[str] = []
    for number, rank in enumerate(ranks):
        name = f"rank {number} of {len(ranks)}"
        try:
            report = json.loads((folder / str(number)).read_text(encoding="utf-8"))
            reports.append((str(report["kind"]), str(report["message"])))
        except (OSError, ValueError):
            if rank.returncode < 0:
                silent.append(f"{name} was killed by {signal.Signals(-rank.returncode).name}")
            elif rank.returncode:
                silent.append(f"{name} failed with exit code {rank.returncode}")
    if silent:  # those that reported only lost the connection to it
        raise Interrupted(f"{silent[0]}, the others ended; the last checkpoint is kept; {go_on}")
    for kind in FAILURES:
        for reported, message in reports:
            if reported == kind:
                raise FAILURES[kind](message)
