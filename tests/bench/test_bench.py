"""Measurements measure what they say: turns are paired, blocks have the steps asked for, what is unknown is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unlabeled.bench import bench
from unlabeled.bench.timing import Turns, machine, span, verdict
from unlabeled.core.errors import UserError


def test_turns_are_paired() -> None:
    calls = []

    def turn(name: str, seconds: float) -> float:
        calls.append(name)
        return seconds * len(calls)

    turns = Turns().take({"a": lambda: turn("a", 1.0), "b": lambda: turn("b", 2.0)}, 3)
    assert calls == ["a", "b"] * 3
    assert turns.taken == {"a": [1, 3, 5], "b": [4, 8, 12]}
    assert turns.median("b") == 8
    assert turns.ratio("b", "a") == pytest.approx(8 / 3)
    assert span(turns.ratios("b", "a")) == "2.40 – 4.00"


def test_verdicts_and_the_machine() -> None:
    assert (verdict(1.3, 1.3), verdict(1.29, 1.3)) == ("met", "not met")
    assert (verdict(1.08, 1.08, at_most=True), verdict(1.09, 1.08, at_most=True)) == ("met", "not met")
    assert "cores" in machine()
    assert "torch" in machine()


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UserError, match=r"there is no measurement 'stpe', only step, extract.*step"):
        next(bench("stpe"))
    with pytest.raises(UserError, match="--profile shows step, not growth"):
        next(bench("growth", profile=True))


def test_an_epoch_of_growth(tmp_path: Path) -> None:
    from unlabeled.bench import growth

    growth.store(tmp_path / "pixels", 10_000)
    row = growth.epoch(str(tmp_path / "pixels"), 10_000, 5)
    assert len(row["parts"]) == 5
    assert 0 < row["anonymous"] <= row["resident"]
    assert "| 10,000 |" in growth.table([row])


def test_blocks_of_the_real_loop_take_turns_with_the_bare_step() -> None:
    from unlabeled.bench import step

    small = ("data=noise:64", "data.size=8", "data.channels=1", "batch_size=16", "hardware.precision=32-true")
    narrow = "backbone.args={channels: [8, 8, 8, 8], layers: [1, 1, 1, 1], stem_stride: 1}"
    case = step.Case.of("simclr", (*small, narrow))
    bare, turns = step.bare_step(case), []
    before = np.array([float(p.detach().sum()) for p in case.ready.method.parameters()])
    bare()  # a copy: the method that is trained stays as it is
    assert np.array_equal(before, [float(p.detach().sum()) for p in case.ready.method.parameters()])
    seconds = step.whole(case, blocks=3, steps=2, between=lambda: turns.append(1))
    assert len(seconds) == 3
    assert len(turns) == 4
    assert min(seconds) > 0
