"""The lines that a long job prints where there is no terminal: how far, how fast, how long still."""

from __future__ import annotations

import pytest

from unlabeled.core import progress as module
from unlabeled.core.progress import Pace, progress, set_quiet


def test_a_job_without_a_terminal_says_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(False)  # whatever a command line in this process asked for before
    with progress("features", 40, done=10, unit="img") as tick:
        tick(29)
        tick(1, "last")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("features  40/40  ")
    assert " img/s  0 s left  last" in line
    set_quiet(True)
    with progress("features", 4) as tick:
        tick(4)
    set_quiet(False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("rate", "shown"), [(2561.4, "2,561"), (12.3, "12"), (3.14, "3.1"), (0.452, "0.45")])
def test_slow_steps_are_not_none(rate: float, shown: str) -> None:
    assert module._speed(rate, "step") == f"{shown} step/s"


def test_the_time_left_is_reckoned_from_steps_as_those_to_come() -> None:
    pace, now = Pace(100.0, 40), 100.0
    for step, seconds in enumerate([300.0, 60.0, *[0.5] * 6], 1):  # the first two compile
        now += seconds
        rate = pace(now, 40 + step)
    assert rate == pytest.approx(2.0)


def test_pauses_between_epochs_count() -> None:
    pace, now = Pace(0.0, 0), 0.0
    for step in range(1, 4001):
        now += 1.0 if step % 100 else 101.0
        rate = pace(now, step)
    assert rate == pytest.approx(0.5, rel=0.02)
    assert len(pace.seen) <= Pace.MOST
