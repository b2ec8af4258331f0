"""All probes by name. Adding one: write its file and list it here (docs/add_a_probe.md).

Paths stand here, not classes: the command line offers the names without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from unlabeled.probes.base import Probe

PROBES = {
    "linear": "linear.LinearProbe",
    "logistic": "logistic.LogisticProbe",
    "knn": "knn.KNNProbe",
    "nmc": "nmc.NearestMeanProbe",
    "lda": "lda.LDAProbe",
    "ridge": "ridge.RidgeProbe",
    "mahalanobis": "lda.MahalanobisProbe",
    "fetril": "fetril.FeTrILProbe",
    "naive_bayes": "naive_bayes.NaiveBayesProbe",
    "teen": "teen.TEENProbe",
    "attentive": "attentive.AttentiveProbe",
}
"""Module and class of each, below ``unlabeled.probes``; tables keep this order."""
FOR_STEPS = ("fetril", "naive_bayes", "teen")
"""Those that are asked for only where classes arrive in steps."""
FOR_TOKENS = ("attentive",)
"""Those that read tokens, of which an embedding has but one."""
SUITE = tuple(name for name in PROBES if name not in FOR_STEPS + FOR_TOKENS)
"""Those that :func:`~unlabeled.probes.suite.run_probes` and the command line know."""


def probe_class(name: str) -> type[Probe]:
    """The class of a probe in :data:`PROBES`.

    >>> probe_class("knn").__name__
    'KNNProbe'
    """
    module, _, kind = PROBES[name].partition(".")
    return cast("type[Probe]", getattr(importlib.import_module(f"unlabeled.probes.{module}"), kind))


def title(name: str) -> str:
    """How a probe is called in print; the name itself where there is no such probe, as in an old report.

    >>> title("nmc"), title("another")
    ('nearest mean', 'another')
    """
    return probe_class(name).title if name in PROBES else name


def column(name: str) -> str:
    """The same where there is little room.

    >>> column("nmc"), column("knn")
    ('NMC', 'kNN')
    """
    return (probe_class(name).column or title(name)) if name in PROBES else name
