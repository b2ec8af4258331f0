"""A record to which entries are only added: each is sealed by a hash over itself and the seal of the one before."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_text

Entry = dict[str, Any]
"""``number`` (from 0), ``written``, ``what``, ``content``, ``previous`` (a seal, empty for the first) and ``seal``."""


def append(path: Path, what: str, content: dict[str, Any]) -> Entry:
    """Add an entry to the record at ``path`` (JSON lines), which is made if it is not there.

    Raises:
        UserError: what is there is no whole record.
    """
    entries = verify(path) if path.is_file() else []
    entry: Entry = {
        "number": len(entries),
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "what": what,
        "content": content,
        "previous": entries[-1]["seal"] if entries else "",
    }
    entry["seal"] = _seal(entry)
    lines = [json.dumps(each, ensure_ascii=False) for each in (*entries, entry)]
    atomic_write_text(path, "\n".join(lines) + "\n")
    return entry


def verify(path: Path) -> list[Entry]:
    """Read a record and check every seal.

    A record whose last entries were cut off is whole as far as it goes: whoever must be able to prove that keeps the
    last seal elsewhere.

    Raises:
        UserError: there is none, or an entry was changed, removed or put in; the message names the first such entry.
    """
    if not path.is_file():
        raise UserError(f"there is no record {path}; it is written by `unlabeled forget`.")
    entries: list[Entry] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            entry = json.loads(line)
            sound = isinstance(entry, dict) and entry.pop("seal") == (seal := _seal(entry))
        except (ValueError, KeyError, RecursionError):
            sound = False
        before = entries[-1]["seal"] if entries else ""
        if not sound or entry.get("number") != number or entry.get("previous") != before:
            raise UserError(
                f"{path}: entry {number} was changed, or one before it was removed or put in; what stands from there "
                "on proves nothing."
            )
        entries.append({**entry, "seal": seal})
    return entries


def commitment(hashes: Sequence[str]) -> dict[str, Any]:
    """What proves later, to who has all of the images, which they were, and tells nothing of any one of them.

    Returns:
        ``count``, a random ``salt``, and ``digest``: the hash of the salt and of all ``hashes`` in order.
    """
    salt = secrets.token_hex(16)
    return {"count": len(hashes), "salt": salt, "digest": committed(salt, hashes)}


def committed(salt: str, hashes: Sequence[str]) -> str:
    """The ``digest`` of :func:`commitment`."""
    return hashlib.blake2b("\n".join([salt, *sorted(hashes)]).encode(), digest_size=16).hexdigest()


def digest(content: Any) -> str:
    """A hash of a JSON value, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _seal(entry: Entry) -> str:
    return digest({key: value for key, value in entry.items() if key != "seal"})
