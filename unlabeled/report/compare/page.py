"""The parts of a page that compare runs: the table of all, and pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unlabeled.core.errors import UserError
from unlabeled.report.compare.reading import read
from unlabeled.report.compare.screening import screened, screening_table
from unlabeled.report.compare.views import pair_view
from unlabeled.report.markup import Markup, join, tag
from unlabeled.runs.folder import Run
from unlabeled.runs.together import Opened, opened, same_data

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
    if len(runs) < 2:
        return parts
    found: list[Opened | UserError] = [_opened(run, data_dir) for run in runs]
    every = [one for one in found if isinstance(one, Opened)]
    for number in range(1, min(len(runs), MOST_PAIRS + 1)):
        key = "compared" if number == 1 else f"compared-{number}"
        called = [names[0], names[number]]
        try:
            pair = [_whole(found[0]), _whole(found[number])]
            others = [one for one in every if same_data(pair[0], one)]
            shown, (first, second) = read(pair, called, live=False, others=others)
            view = pair_view(shown, first, second, f"shown{number}")
        except UserError as error:
            view = tag("p", f"They are not read on the same images: {error}", class_="hint note")
        if number == MOST_PAIRS and (left := len(runs) - 1 - MOST_PAIRS) > 0:
            said = f"{left} more are not compared here; any two of them: unlabeled compare RUN RUN"
            view = join([view, tag("p", said, class_="hint note")])
        parts[key] = (f"{called[0]} beside {called[1]}", view)
    return parts


def _opened(run: Run, data_dir: str | None) -> Opened | UserError:
    try:
        return opened(run, data_dir)
    except UserError as error:
        return error


def _whole(found: Opened | UserError) -> Opened:
    if isinstance(found, UserError):
        raise found
    return found
