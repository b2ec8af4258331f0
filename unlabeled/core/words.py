"""Commands as they can be pasted."""

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
