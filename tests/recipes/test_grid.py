"""Grids: what varies, in which order, under which names, and what is refused before anything is trained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.recipes.grid import LONGEST, grid, values


@given(st.lists(st.text("abc01.[](){}= -", min_size=1, max_size=6).map(lambda text: f"'{text}'"), min_size=1))
def test_what_quotes_hold_together_is_one_value(texts: list[str]) -> None:
    assert values(",".join(texts)) == texts


def test_ranges_are_of_whole_numbers_and_hold_both_ends() -> None:
    assert values("3..5,9") == ["3", "4", "5", "9"]
    assert values("0.1..0.3") == ["0.1..0.3"]
    assert values("../photos") == ["../photos"]


def test_every_value_meets_every_other_and_seeds_come_last() -> None:
    points = grid("simclr", ["optimizer.lr=0.1,0.3", "seed=4..5", "epochs=7", "method.temperature=0.2,0.5"])
    found = [
        (p.recipe.optimizer.lr, p.recipe.method.model_dump()["temperature"], p.recipe.seed, p.recipe.epochs)
        for p in points
    ]
    settings = [(0.1, 0.2), (0.1, 0.5), (0.3, 0.2), (0.3, 0.5)]
    assert found == [(*setting, seed, 7) for seed in (4, 5) for setting in settings]
    assert points[0].title == "optimizer.lr=0.1 method.temperature=0.2"
    assert points[0].setting == points[4].setting


def test_a_point_has_one_name_in_all_grids() -> None:
    one, more = grid("simclr", ["seed=0..1"]), grid("simclr", ["seed=1..3"])
    assert one[1].name == more[0].name == "seed=1"
    long = [f"backbone.args={{channels: [{first}, 16, 32, 64]}}" for first in (8, 9)]
    names = [p.name for p in grid("simclr", [f"{long[0]},{long[1].partition('=')[2]}"])]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= LONGEST + 9
    assert not set(" {}[]:,/") & set("".join(names))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs=3"], "nothing varies: write key=a,b,c"),
        (["optimizer.lr"], "'optimizer.lr' is not a setting"),
        (["optimizer.lr=0.1,,0.3"], "lacks a value"),
        (["seed=3..1"], "lacks a value"),
        (["optimizer.lr=0.1,0.3", "optimizer.lr=1"], "optimizer.lr is given twice"),
        (["optimizer.lr=0.1,0.10"], "are the same recipe"),
        (["optimizer.lr=0.1,fast"], "optimizer.lr"),
        (["optimizer.rate=0.1,0.2"], "unknown key 'optimizer.rate'"),
        (["data=cifar10,stl10"], "one data set at a time"),
    ],
)
def test_what_is_wrong_is_said_at_once(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        grid("simclr", settings)
