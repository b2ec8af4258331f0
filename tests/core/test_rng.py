"""Randomness is a function of its key."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core import rng

keys = st.lists(st.integers(0, 2**40) | st.text(max_size=5), min_size=1, max_size=4)


@given(keys)
def test_same_key_same_numbers(key: list[int | str]) -> None:
    first, second = (torch.rand(5, generator=rng.torch_generator(*key)) for _ in range(2))
    assert torch.equal(first, second)
    assert 0 <= rng.derive(*key) < 2**63


@given(keys, keys)
def test_other_key_other_numbers(one: list[int | str], two: list[int | str]) -> None:
    assert (rng.derive(*one) == rng.derive(*two)) == (one == two)


def test_drawing_leaves_the_global_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    rng.torch_generator(1).initial_seed()
    torch.rand(7, generator=rng.torch_generator(1))
    assert torch.equal(torch.rand(3), expected)
