"""Probes: 64 kNN settings against the bare product, and all probes against the extraction of their features."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from unlabeled import backbones
from unlabeled.bench import timing
from unlabeled.bench.timing import Turns, span, verdict
from unlabeled.data import open_data
from unlabeled.probes.catalog import SUITE
from unlabeled.probes.features import extract
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.suite import run_probes

KS = (1, 5, 10, 20, 50, 100, 150, 200)
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 1.0)
BANK, QUERIES, DIM, TILE = 20_000, 4_000, 512, 800
TARGET_KNN = 2.0


def knn(rounds: int) -> Turns:
    """Seconds of 64 settings scored on 4,000 queries in a bank of 20,000 × 512, and of the ``product`` alone."""
    generator = torch.Generator().manual_seed(0)
    bank, queries = (F.normalize(torch.randn(n, DIM, generator=generator), dim=1) for n in (BANK, QUERIES))
    y = torch.randint(0, 100, (BANK,), generator=generator)
    out = torch.empty(TILE, BANK)

    def score() -> None:
        KNNProbe().fit(bank, y).sweep(queries, KS, TEMPERATURES)

    def product() -> None:
        for start in range(0, QUERIES, TILE):
            part = queries[start : start + TILE]
            torch.mm(part, bank.T, out=out[: len(part)])

    return Turns().take({"knn": lambda: timing.seconds(score), "product": lambda: timing.seconds(product)}, rounds)


def suite(rounds: int) -> Turns:
    """Seconds of the ``extraction`` of fashion-mini's features, and of all ``probes`` on them."""
    train, test = open_data("fashion-mini", "train"), open_data("fashion-mini", "test")
    mean, std = train.statistics()
    model = backbones.create("resnet10_small", in_chans=1, image_size=28, mean=mean, std=std, seed=0).eval()
    bank, held = (extract(model, images, mean=mean, std=std) for images in (train, test))
    turns = {
        "extraction": lambda: timing.seconds(lambda: extract(model, train, mean=mean, std=std)),
        "probes": lambda: timing.seconds(lambda: run_probes(bank, held, SUITE)),
    }
    return Turns().take(turns, rounds)


def lines(rounds: int) -> Iterator[str]:
    """Both ratios."""
    turns = knn(rounds)
    ratio = turns.ratio("knn", "product")
    yield (
        f"64 kNN settings: **{ratio:.2f}** × the bare product ({span(turns.ratios('knn', 'product'))}; "
        f"target ≤ {TARGET_KNN:g}: {verdict(ratio, TARGET_KNN, at_most=True)})"
    )
    turns = suite(rounds)
    names = ", ".join(SUITE)
    yield (
        f"all probes ({names}): **{turns.ratio('probes', 'extraction'):.2f}** × the extraction of their features "
        f"({span(turns.ratios('probes', 'extraction'))})"
    )
