"""Which device is meant, and whom ranks ask about what lies where."""

from __future__ import annotations

import pytest
import torch

from unlabeled.core import dist
from unlabeled.core.device import chosen, on_gpu


def test_the_gpu_is_taken_only_where_it_is_meant_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert [on_gpu(name) for name in ("auto", "gpu", "cuda", "cpu", "mps")] == [there] * 3 + [False] * 2
        assert chosen().type == ("cuda" if there else "cpu")


def test_nccl_is_not_asked_about_what_lies_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    small_messages = object()
    monkeypatch.setattr(dist, "_control", small_messages)
    assert dist._group(torch.zeros(1)) is small_messages
    assert dist._group(torch.zeros(1, device="meta")) is None
