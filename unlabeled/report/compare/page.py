"""The parts of a page that compare runs: the table of all, and pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unlabeled.core.errors import UserError
from unlabeled.report.compare.reading import read
from unlabeled.report.compare.screening import screened, screening_table
from unlabeled.report.compare.views import pair_view
from unlabeled.report.markup import Markup, join, tag
from unlabeled.runs.folder import Run
from unlabeled.runs.together import opened

MOST_PAIRS = 3
"""Pairs on a page that is a file."""
Parts = dict[str, tuple[str, Markup | None]]


def screening_part(runs: Sequence[Run], names: Sequence[str], links: Mapping[str, str] | None = None) -> Parts:
    """The table of everything that was measured of runs that were made to forget; ``links`` by the name of a run."""
    table = screening_table(screened(zip(runs, names, strict=True)), links)
    return {"methods": ("Forgetting: all methods and settings", table)}


def compared_parts(runs: Sequence[Run], names: Sequence[str], data_dir: str | None = None) -> Parts:
    """The first run beside each of the next, for a page that is a file: without any image that was to be forgotten."""
    parts = screening_part(runs, names)
    for number in range(1, min(len(runs), MOST_PAIRS + 1)):
        key = "compared" if number == 1 else f"compared-{number}"
        pair, called = [runs[0], runs[number]], [names[0], names[number]]
        try:
            shown, (first, second) = read([opened(run, data_dir) for run in pair], called, live=False)
            view = pair_view(shown, first, second, f"shown{number}")
        except UserError as error:
            view = tag("p", f"They are not read on the same images: {error}", class_="hint note")
        parts[key] = (f"{called[0]} beside {called[1]}", view)
    left = len(runs) - 1 - MOST_PAIRS
    if left > 0:
        title, last = parts[key]
        said = f"{left} more are not compared here; any two of them: unlabeled compare RUN RUN"
        parts[key] = (title, join([last, tag("p", said, class_="hint note")]))
    return parts
