"""What new classifiers regain from the frozen embeddings."""

from __future__ import annotations

import torch

from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words
from unlabeled.forgetting.judge.reprobe import reprobe


def of(case: Case, view: View) -> Found:
    """Accuracy on each part of the test images of probes of retain and forget images."""
    rows = case.like_the_data("reprobe")
    if case.task.split.noisy_labels is not None:  # they teach a probe nothing: it sees the retain images alone
        rows = rows[:0]
    embeddings = torch.cat([view.embeddings["retain"], view.embeddings["forget"][rows]])
    labels = torch.cat([case.labels["retain"], case.labels["forget"][rows]])
    tests = {n: (view.embeddings["test"][part], case.labels["test"][part]) for n, part in case.parts.items()}
    return Found({f"reprobe_{k}": v for k, v in reprobe(embeddings, labels, tests, seed=case.seed).items()})


PROBES = {
    "linear": "a new classifier on frozen embeddings",
    "linear_few": "a new classifier, 2 % of the labels",
    "knn": "20 nearest neighbours",
}
PARTS = {
    "test_f": ("test images of the class forgotten", "high: the class is still inside, whatever the outputs say"),
    "test_r": ("test images of the classes retained", "what the embeddings are still worth"),
    "test": ("test images", "what the embeddings are worth"),
}
ELSEWHERE = ("linear_few_test_r", "knn_test_r")
"""In the record, and in no table."""

MEASURE = Measure(
    of,
    {
        f"reprobe_{probe}_{part}": Words(
            f"{title}: {images}",
            meaning,
            () if f"{probe}_{part}" in ELSEWHERE else ("representation",),
            percent=True,
        )
        for part, (images, meaning) in PARTS.items()
        for probe, title in PROBES.items()
    },
    needs_labels=True,
)
