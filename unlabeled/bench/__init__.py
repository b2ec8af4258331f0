"""Measurements that hold on any machine: everything as a ratio to a floor in the same run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from unlabeled.core.errors import UserError, nearest

BENCHES = ("step", "extract", "growth", "probes")
PROFILED = ("step",)


def bench(what: str, rounds: int = 7, profile: bool = False) -> Iterator[str]:
    """Measure one of ``BENCHES``; yield lines of a Markdown page, the first of which names the machine.

    Args:
        rounds: how often every contender has its turn; figures are medians over the rounds.
        profile: say instead where the time goes, operation by operation (of a step).

    Raises:
        UserError: there is no such measurement, or no profile of it.
    """
    if what not in BENCHES:
        raise UserError(f"there is no measurement '{what}', only {', '.join(BENCHES)}.{nearest(what, BENCHES)}")
    if profile and what not in PROFILED:
        raise UserError(f"--profile shows {' or '.join(PROFILED)}, not {what}.")
    from unlabeled.bench.timing import machine

    module = importlib.import_module(f"unlabeled.bench.{what}")
    yield machine() + "\n"
    if profile:
        yield module.profiled()
    else:
        yield from module.lines(rounds)
