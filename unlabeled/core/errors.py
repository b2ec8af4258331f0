"""The one exception a user ever meets, and the words to say it in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. The command line prints it as one line and exits with 2.

    The message says what is wrong, where, and how to mend it; it is made one line whatever names it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and left a resumable state behind. Exit code 1."""


class Diverged(Exception):
    """Training met a NaN or infinite loss, gradient or weight; the last good checkpoint was kept. Exit code 1.

    Args:
        step: at which step.
        what: what became unusable.
    """

    def __init__(self, message: str, step: int = 0, what: str = "") -> None:
        super().__init__(message)
        self.step, self.what = step, what


MOST_NAMES = 40
"""More names than these do not fit a line that anyone reads."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or the list of all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=len(known) or 1, cutoff=0.5)
    if close:
        return f" Did you mean '{min(close, key=lambda other: _distance(name, other))}'?"
    if len(known) > MOST_NAMES:
        return f" There are {len(known)}, for instance {', '.join(known[:5])}."
    return f" Known: {', '.join(known)}." if known else ""


def _distance(name: str, other: str) -> tuple[float, bool, int]:
    """Words first, then letters in another order, then sizes: ``resnet9`` is nearer to ``resnet18`` than to 152."""
    words, sizes = zip(*((re.sub(r"\d+", "0", text), re.findall(r"\d+", text)) for text in (name, other)), strict=True)
    unlike = 1 - difflib.SequenceMatcher(None, *words).ratio()
    apart = sum(abs(int(first) - int(second)) for first, second in zip(*sizes, strict=False))
    return unlike, sorted(name) != sorted(other), apart


def first_line(error: BaseException) -> str:
    """The beginning of what a library says of its error, for a message of ours; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
