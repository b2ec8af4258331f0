"""The fake GPU as a fixture: test modules are no package here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from unlabeled.data import colour, resample

if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
    collect_ignore_glob = ["test_*.py"]  # the fake tensors of older versions ask for a driver (seen with 2.6)


@pytest.fixture(autouse=True)
def _tables_anew() -> Iterator[None]:
    """Nothing that is kept from one batch to the next comes from, or stays for, another test."""
    for kept in (resample._table, colour._basis):
        kept.cache_clear()
    yield
    for kept in (resample._table, colour._basis):
        kept.cache_clear()


@pytest.fixture(scope="session")
def fake(script: Callable[[Path], ModuleType]) -> ModuleType:
    """The module ``fake_gpu``."""
    return script(Path(__file__).with_name("fake_gpu.py"))
