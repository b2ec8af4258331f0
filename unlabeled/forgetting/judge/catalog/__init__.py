"""Every measure of forgetting, in the order of the tables: a file each, and a line here."""

from __future__ import annotations

from importlib import import_module

from unlabeled.forgetting.judge.measure import Measure, Table, Words

FILES = (
    "accuracy",
    "outputs",
    "representation",
    "reprobing",
    "membership",
    "inside",
    "likelihood",
    "relearning",
)

MEASURES: tuple[Measure, ...] = tuple(import_module(f"{__name__}.{file}").MEASURE for file in FILES)

WORDS: dict[str, Words] = {name: words for measure in MEASURES for name, words in measure.words.items()}
"""By the name of each figure."""


def in_table(table: Table) -> tuple[str, ...]:
    """The figures of one table of ``unlabeled forget``.

    >>> in_table("leakage")[:2]
    ('asr', 'mia_accuracy_outputs')
    """
    return tuple(name for name, words in WORDS.items() if table in words.tables)
