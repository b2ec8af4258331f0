"""What the measures of forgetting are called in print, and what each says: for readers who do not know them."""

from __future__ import annotations

from unlabeled.forgetting.judge.catalog import WORDS
from unlabeled.forgetting.judge.measure import Words

MODELS = {"before": "before", "after": "after forgetting", "retrained": "retrained without them"}
"""The models of a record."""


def in_words(measure: str) -> tuple[str, str]:
    """Title and meaning of a measure; a name that is not known is its own title.

    >>> in_words("zrf")[0], in_words("of_a_newer_version")
    ('zero-retrain forgetting', ('of a newer version', ''))
    """
    words = WORDS.get(measure, Words(measure.replace("_", " "), ""))
    return words.title, words.meaning


def is_share(measure: str) -> bool:
    """Whether a measure is printed in percent.

    >>> is_share("test_f"), is_share("mia_accuracy_outputs"), is_share("rus")
    (True, True, False)
    """
    return measure in WORDS and WORDS[measure].percent
