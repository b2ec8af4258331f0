"""Folds of few rows: as even as scikit-learn's, and never without a class."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from unlabeled.data.rows import FEW_ROWS, folds, splits_to_choose


@settings(deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=6), st.integers(2, 5), st.integers(0, 3))
def test_folds_are_dealt_as_scikit_learn_deals_them(sizes: list[int], number: int, seed: int) -> None:
    codes = np.repeat(np.arange(len(sizes)), sizes)
    if max(sizes) < number:
        return  # scikit-learn refuses them
    found = [np.bincount(codes[folds(codes, number, seed) == fold], minlength=len(sizes)) for fold in range(number)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are not in every fold
        theirs = list(StratifiedKFold(number).split(codes, codes))
    expected = [np.bincount(codes[held], minlength=len(sizes)) for _, held in theirs]
    assert np.array_equal(found, expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 3))
def test_every_fold_leaves_a_row_of_every_class(labels: list[int], seed: int) -> None:
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    splits = splits_to_choose(codes, 0.2, seed)
    held = np.concatenate([held for _, held in splits]) if splits else np.empty(0, np.int64)
    assert sorted(held) == np.flatnonzero(np.bincount(codes)[codes] > 1).tolist()
    assert all(set(codes[kept]) == set(codes) for kept, _ in splits)


def test_the_draw_is_the_seeds() -> None:
    codes = np.arange(60) % 3
    assert np.array_equal(folds(codes, 5, 0), folds(codes, 5, 0))
    assert not np.array_equal(folds(codes, 5, 0), folds(codes, 5, 1))


def test_many_rows_are_split_once() -> None:
    ((kept, held),) = splits_to_choose(np.arange(FEW_ROWS) % 4, 0.2, 0)
    assert (len(kept), len(held)) == (800, 200)
