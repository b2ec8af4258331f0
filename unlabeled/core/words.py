"""Commands as they can be pasted, and times as they are said."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable


def command(*parts: object) -> str:
    """A command of this program that works when it is pasted, whatever its folders are called.

    >>> command("probe", "my run")
    "unlabeled probe 'my run'"
    """
    words: Iterable[str] = ("unlabeled", *map(str, parts))
    return subprocess.list2cmdline(list(words)) if os.name == "nt" else shlex.join(words)


def duration(seconds: float) -> str:
    """A time in the two units that matter.

    >>> duration(0.2), duration(90), duration(1000), duration(12_345), duration(200_000)
    ('0 s', '90 s', '17 min', '3 h 26 min', '2 days 8 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} days {hours % 24} h"
