"""One list of probes: everything else that is known of a probe hangs on its class."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unlabeled import probes
from unlabeled.probes import catalog
from unlabeled.probes.base import Probe
from unlabeled.probes.incremental import stepwise


@pytest.mark.parametrize("name", catalog.PROBES)
def test_every_name_is_a_probe_with_a_title(name: str) -> None:
    kind = catalog.probe_class(name)
    assert issubclass(kind, Probe)
    assert kind is getattr(probes, kind.__name__)
    assert kind.title == catalog.title(name)
    asked = kind.for_suite(7, "cpu").get_params()
    assert asked["device"] == "cpu"
    assert asked.get("seed", 7) == 7


TITLES = {"linear": "linear", "knn": "kNN", "nmc": "nearest mean", "lda": "LDA", "mahalanobis": "Mahalanobis"}
COLUMNS = {"linear": "linear", "knn": "kNN", "nmc": "NMC", "lda": "LDA", "fetril": "FeTrIL"}


def test_what_tables_call_them() -> None:
    assert {name: catalog.title(name) for name in TITLES} == TITLES
    assert {name: catalog.column(name) for name in COLUMNS} == COLUMNS
    assert catalog.title("of another version") == catalog.column("of another version") == "of another version"


def test_which_learn_class_by_class_and_which_need_square_sums() -> None:
    keep_rows = {"linear", "logistic", "knn"}
    assert set(catalog.SUITE) - set(stepwise()) == keep_rows
    assert set(catalog.FOR_STEPS) <= set(stepwise())
    small = {"linear", "knn", "nmc", "fetril", "naive_bayes", "teen", "attentive"}
    assert {name for name in catalog.PROBES if not catalog.probe_class(name).square} == small


def test_names_are_offered_without_torch() -> None:
    code = "import sys, unlabeled.cli.commands.probe; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
