"""The fake GPU as a fixture: test modules are no package here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
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
def fake() -> ModuleType:
    """The module ``fake_gpu``."""
    spec = importlib.util.spec_from_file_location("fake_gpu", Path(__file__).with_name("fake_gpu.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_gpu"] = module
    spec.loader.exec_module(module)
    return module
