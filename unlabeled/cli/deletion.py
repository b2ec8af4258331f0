"""What purge and the record of deletion requests say, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlabeled.core.words import command

if TYPE_CHECKING:
    from unlabeled.verbs.purge import Purged


def show_purged(done: Purged, *, dry_run: bool) -> str:
    """What was removed, what is not covered, and how to check the record."""
    lines = [f"{'would be removed' if dry_run else 'removed'}:", *(f"  {line}" for line in done.removed or ["nothing"])]
    if done.not_covered:
        lines += ["not covered:", *(f"  {line}" for line in done.not_covered)]
    if not dry_run:
        lines += [
            f"{done.searched} files of the runs and the cache were searched for the images' names and hashes",
            f"the record:  {command('record', 'verify', done.run.folder)}",
        ]
    return "\n".join(lines)


def show_record(entries: Sequence[dict[str, Any]]) -> str:
    """The entries of a record that was found whole, one a line, and the last seal."""
    lines = []
    for entry in entries:
        content = entry["content"]
        if entry["what"] == "forget":
            said = f"{content['request']['description']}, by {content['method']['name']}"
        else:
            said = f"{len(content['removed'])} things removed"
        lines.append(f"{entry['written']}  {entry['what']:7} {said}")
    return "\n".join([*lines, f"whole: {len(entries)} entries, the last one sealed {entries[-1]['seal']}"])
