"""The words of errors."""

from __future__ import annotations

import pytest

from unlabeled.core.errors import UserError, first_line, nearest


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n  bad header\nTraceback"), "bad header"),
        (AssertionError(), "AssertionError"),
        (KeyError("x" * 999), "'" + "x" * 199),
    ],
)
def test_a_library_says_no_more_than_a_line(error: Exception, said: str) -> None:
    assert first_line(error) == said


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    assert str(UserError("no model 'a\nb'; see\n docs")) == "no model 'a b'; see docs"


def test_a_near_name_is_offered_and_few_are_listed() -> None:
    assert nearest("simclt", ["simclr", "mae"]) == " Did you mean 'simclr'?"
    assert nearest("zzz", ["mae", "simclr"]) == " Known: mae, simclr."
    assert nearest("lfa", ["lda", "laf", "lfssd"]) == " Did you mean 'laf'?"  # as near by letters in common is lda
    assert nearest("resnet9", ["resnet50", "resnet101", "resnet18", "resnext26ts"]) == " Did you mean 'resnet18'?"
    assert nearest("vit_tiny_patch16_225", ["vit_tiny_patch16_384", "vit_tiny_patch16_224"]).endswith("_224'?")
    assert "41" in nearest("zzz", [f"{i:03}" for i in range(41)])
