"""Feature extraction against the bare model's forward passes on batches that are ready."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from unlabeled import backbones
from unlabeled.bench import timing
from unlabeled.bench.timing import Turns, span, verdict
from unlabeled.core.device import chosen
from unlabeled.data import open_data
from unlabeled.engine.loop import best_precision
from unlabeled.probes.features import extract

TARGET = 0.95
BATCH, BATCHES = 256, 16


def measure(rounds: int = 7) -> Turns:
    """Seconds of ``extraction`` of 4,096 fashion-mini images, and of as many ``bare`` forward passes, in turn."""
    images = open_data("fashion-mini", "train").subset(np.arange(BATCH * BATCHES))
    mean, std = images.statistics()
    device = chosen()
    model = backbones.create("resnet10_small", in_chans=1, image_size=28, mean=mean, std=std, seed=0).to(device).eval()
    half = best_precision("auto") == "bf16-mixed"
    pixels = images.gather(np.arange(BATCH)).to(device)
    ready = (pixels.float() / 255 - mean[0]) / std[0]

    def bare() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            for _ in range(BATCHES):
                model(ready)

    def extraction() -> None:
        extract(model, images, mean=mean, std=std, batch_size=BATCH, autocast="bfloat16" if half else None)

    bare()
    extraction()
    return Turns().take(
        {"extraction": lambda: timing.seconds(extraction), "bare": lambda: timing.seconds(bare)}, rounds
    )


def table(turns: Turns) -> str:
    """Throughput relative to the bare model."""
    rates = [BATCH * BATCHES / turns.median(name) for name in ("extraction", "bare")]
    share, shares = turns.ratio("bare", "extraction"), turns.ratios("bare", "extraction")
    return (
        "| extraction, images/s | bare forward, images/s | extraction / bare | range | |\n|---:|---:|---:|---|---|\n"
        f"| {rates[0]:,.0f} | {rates[1]:,.0f} | **{share:.3f}** | {span(shares)} | {verdict(share, TARGET)} |\n\n"
        f"resnet10_small, 28 px, batches of {BATCH}; gathering, normalising, checking and writing included; "
        f"target ≥ {TARGET:g}."
    )


def lines(rounds: int) -> Iterator[str]:
    """The table."""
    yield table(measure(rounds))
