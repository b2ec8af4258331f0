"""Probes on a GPU, without one: where the host waits for it is known, and why; nowhere in the steps that are many."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from unlabeled.probes import catalog
from unlabeled.probes.linear import LinearProbe
from unlabeled.probes.search import search

N, DIM, CLASSES = 64, 8, 4
LABELS = np.arange(N) % CLASSES
BLOCK = ("unlabeled/probes/arrays.py", "take")
ALLOWED = {
    BLOCK: 1,  # NaN is refused where it is read: once a block of 16 MB
    ("unlabeled/probes/statistics.py", "_update"): 1,  # the rows' prints are kept on the host: once a block
    ("unlabeled/probes/statistics.py", "n"): N,  # the number of rows, once a solution
    ("unlabeled/probes/nmc.py", "_solve"): N,
    ("unlabeled/probes/lda.py", "_solve"): 1,  # shrinkage and whether Cholesky worked: once a solution
    ("unlabeled/probes/ridge.py", "_solve"): 1,  # the penalty is chosen on the host by D numbers: once a solution
    ("unlabeled/probes/naive_bayes.py", "_solve"): 1,  # the largest variance: once a solution
    ("unlabeled/probes/linear.py", "_judge"): 1,  # accuracies and losses of all settings: once a fold
    ("unlabeled/probes/logistic.py", "_judged"): 1,  # those of a penalty: once a penalty and fold
    ("unlabeled/probes/softmax_path.py", "__init__"): 1,  # whether squares are finite: once a fit
    ("unlabeled/probes/softmax_path.py", "_minimise"): 1,  # L-BFGS decides on the host: a few times a step
    ("unlabeled/probes/knn.py", "_keep"): 1,  # which k is best, and whether all rows point one way: once a fit
    ("unlabeled/probes/attentive.py", "_loss"): 1,  # of the held-out rows: once a learning rate
    ("unlabeled/probes/fetril.py", "partial_fit"): 1,  # which class lends its rows: once an old class
}
"""All places where a probe may wait for the device, and the value that is read there."""


@pytest.mark.filterwarnings("ignore::unlabeled.probes.base.ProbeWarning")
def test_probes_learn_and_answer_on_the_device(fake: ModuleType) -> None:
    waited: set[tuple[str, str]] = set()
    for name in catalog.PROBES:
        with fake.fake_gpu(ALLOWED) as gpu:
            X = torch.zeros(N, DIM, device=fake.GPU)
            probe = catalog.probe_class(name).for_suite(0, None)
            probe.set_params(**{"epochs": 1, "min_steps": 2} if name in ("linear", "attentive") else {})
            scores = probe.fit(X, LABELS).scores(X)
            assert (scores.device, scores.shape) == (fake.GPU, (N, CLASSES)), name
            assert not gpu.unpinned, f"{name}: copies that the host waits for: {gpu.unpinned}"
            waited |= gpu.read
    assert waited == set(ALLOWED), "a place of the list where nothing waits any more"


def test_the_steps_of_the_linear_probe_never_wait(fake: ModuleType) -> None:
    probe = LinearProbe((0.1, 1.0), batch_size=16, epochs=2, min_steps=1)
    probe.classes_ = np.arange(CLASSES)
    with fake.fake_gpu() as gpu:
        X = torch.zeros(N, DIM, device=fake.GPU)
        weights, scaling = probe._train(X, LABELS, np.arange(0, N, 2), probe._heads(), fake.GPU)
        assert {part.device for part in (*weights, scaling.mean, scaling.std)} == {fake.GPU}
        assert not gpu.unpinned, f"copies that the host waits for: {gpu.unpinned}"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_found_without_waiting_for_a_tile(metric: str, fake: ModuleType) -> None:
    with fake.fake_gpu({BLOCK: 1}) as gpu:
        X = torch.zeros(N, DIM, device=fake.GPU)
        found = search(X, X, 5, metric=metric, device=fake.GPU, exclude_rows=np.arange(N))  # type: ignore[arg-type]
        assert found.index.device == fake.GPU
        assert not gpu.unpinned, f"copies that the host waits for: {gpu.unpinned}"
