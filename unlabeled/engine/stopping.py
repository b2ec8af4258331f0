"""Ctrl-C and SIGTERM: finish the step, save, stop; and within ten seconds of a SIGTERM, whatever the step does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from unlabeled.core.progress import say

PATIENCE = 8.0
"""Seconds a step and its saving may take after a SIGTERM (SLURM's pre-emption leaves 30, others 10)."""


def may_handle() -> bool:
    """Python lets the main thread alone handle signals; a training in another one leaves them to it."""
    return threading.current_thread() is threading.main_thread()


class Stopping:
    """Remembers the signal that asked this process to stop.

    Args:
        kept: the step of the last checkpoint, to be named if there is no time for another one.
    """

    def __init__(self, kept: Callable[[], int]) -> None:
        self.signal: str | None = None
        self._kept = kept
        self._previous: dict[int, Any] = {}

    def listen(self) -> None:
        """Handle both signals from now on; whoever handled them before is set aside."""
        if not may_handle():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, self._handle)
            self._previous.setdefault(number, previous)

    def _handle(self, number: int, _: Any) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            say(f"{signal.Signals(number).name}: finishing the step and saving …")
        self.signal = signal.Signals(number).name

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Put the old handlers back at the end; meanwhile a SIGTERM is obeyed in time even by a step that is not.

        A Python handler waits for the running operation, and a backward pass is a single one. The wake-up descriptor
        is written by the C handler at once; a thread reads it.
        """
        if not may_handle() or not hasattr(os, "set_blocking"):  # older Pythons on Windows, where nobody sends SIGTERM
            try:
                yield
            finally:
                self._hand_back()
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        over = threading.Event()

        def watch() -> None:
            while (number := os.read(reading, 1)) and number[0] != signal.SIGTERM:
                pass
            if number and not over.wait(PATIENCE):
                say(
                    f"unlabeled: SIGTERM: the step did not end within {PATIENCE:.0f} s; the checkpoint of step "
                    f"{self._kept()} is kept, go on with --resume"
                )
                os._exit(1)

        thread = threading.Thread(target=watch, daemon=True, name="sigterm")
        thread.start()
        try:
            yield
        finally:
            over.set()
            signal.set_wakeup_fd(before)
            os.close(writing)
            thread.join()
            os.close(reading)
            self._hand_back()

    def _hand_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
