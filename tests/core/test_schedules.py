from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core.schedules import cosine, linear

NUMBERS = st.floats(-10, 10)


@given(start=NUMBERS, end=NUMBERS)
def test_both_go_from_start_to_end_and_meet_in_the_middle(start: float, end: float) -> None:
    for schedule in (cosine, linear):
        assert schedule(start, end, 0.0) == pytest.approx(start, abs=1e-12)
        assert schedule(start, end, 0.5) == pytest.approx((start + end) / 2, abs=1e-12)
        assert schedule(start, end, 1.0) == pytest.approx(end, abs=1e-12)


def test_a_cosine_is_steepest_in_the_middle_and_a_line_stays_at_its_end() -> None:
    assert cosine(0.0, 1.0, 1 / 3) == pytest.approx((1 - math.cos(math.pi / 3)) / 2)
    assert linear(0.0, 1.0, 1 / 3) == pytest.approx(1 / 3)
    assert linear(0.0, 1.0, 5.0) == 1.0
