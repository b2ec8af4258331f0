"""Re-probing: freeze the extractor, give the labels back, and see what the embeddings still tell."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unlabeled.data.rows import share
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.linear import LinearProbe


def reprobe(
    train: Tensor, labels: Tensor, tests: dict[str, tuple[Tensor, Tensor]], *, few: float = 0.02, seed: int = 0
) -> dict[str, float]:
    """Accuracy on each test set of probes trained on ``(N, D)`` embeddings of retain *and* forget images.

    A linear probe on all of them (``linear_<name>``), one on the share ``few`` (``linear_few_<name>``), and a
    20-nearest-neighbour vote (``knn_<name>``). Every model is probed in the same way with one fixed setting
    (standardised features), so that differences come from the embeddings.

    Args:
        tests: ``(M, D)`` embeddings and ``(M,)`` labels by name.
    """
    some = share(labels.numpy(), few, seed, "reprobe")
    out: dict[str, float] = {}
    for name, rows, epochs in (("linear", np.arange(len(labels)), 5), ("linear_few", some, 50)):
        probe = LinearProbe(lr=0.1, weight_decay=1e-4, normalise="standard", epochs=epochs, min_steps=300, seed=seed)
        probe.fit(train[rows], labels[rows])
        for test, (embeddings, truth) in tests.items():
            out[f"{name}_{test}"] = _right(probe.predict(embeddings), truth)
    neighbours = KNNProbe(k=20, temperature=0.07).fit(train, labels)
    for test, (embeddings, truth) in tests.items():
        out[f"knn_{test}"] = _right(neighbours.predict(embeddings), truth)
    return out


def _right(predicted: Tensor, truth: Tensor) -> float:
    return float((torch.as_tensor(predicted) == truth).float().mean()) if len(truth) else float("nan")
