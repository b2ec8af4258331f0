"""The table of methods, what they are compared with, and the picture of accuracy against seconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from _methods import PROBES, Where, right_ones
from _results import HERE, machine, section

from unlabeled.probes.intervals import accuracy_interval, mean_interval
from unlabeled.ssl.methods import METHODS

Rows = Mapping[str, Mapping[int, Mapping[str, Any]]]
TITLES = {"cifar10": "CIFAR-10 (JPEG)", "fashion-mnist": "Fashion-MNIST"}
"""The images of CIFAR-10 are JPEG files here: not the pixels of published figures."""
AIMED_AT = 1200
"""CPU seconds after which the differences are to be as large as this:"""
OVER_START, OVER_PIXELS, UNDER_SIMCLR = 10.0, 5.0, -5.0
"""Points of linear accuracy that a method has to be above its random start and raw pixels, and may be below SimCLR."""


def needs_labels(row: str) -> bool:
    """Whether a row has learned from labels, which is for comparison only."""
    return row in METHODS and METHODS[row].needs_labels


def accuracy(seeds: Mapping[int, Mapping[str, Any]], probe: str, images: int) -> str:
    """Mean over seeds and half of its t interval; of one seed, half of the Wilson interval over the test images."""
    figures = [row[probe] for row in seeds.values()]
    mean = statistics.mean(figures)
    low, high = mean_interval(figures) or accuracy_interval(round(mean * images), images)
    return f"{100 * mean:.1f} ± {50 * (high - low):.1f}"


def difference(one: Mapping[int, Any], other: Mapping[int, Any], images: int) -> tuple[float, float]:
    """Points of linear accuracy between two rows and half of the 95 % interval, paired by seed or by test image."""
    alone = next(iter(other.values())) if len(other) == 1 else None
    pairs = [(row, other.get(seed, alone)) for seed, row in one.items() if seed in other or alone]
    differences = [100 * (a["linear"] - b["linear"]) for a, b in pairs]
    interval = mean_interval(differences)
    if interval:
        return statistics.mean(differences), (interval[1] - interval[0]) / 2
    one_pair = [right_ones(row, "linear", images).astype(float) for row in pairs[0]]
    spread = float(np.std(one_pair[0] - one_pair[1], ddof=1))
    return statistics.mean(differences), 196 * spread / images**0.5


def table(rows: Rows, images: int) -> list[str]:
    """All rows, the best linear accuracy first."""
    best = sorted(rows, key=lambda row: -statistics.mean(r["linear"] for r in rows[row].values()))
    lines = [
        "| row | backbone | D | linear | kNN | NMC | RankMe | epochs | CPU s | seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in best:
        found = list(rows[row].values())
        first = found[0]
        figures = [accuracy(rows[row], probe, images) for probe in PROBES]
        figures.append(f"{statistics.mean(r['rankme'] for r in found):.0f}")
        length = ["–", "–"]
        if "epochs" in first:
            seen = first["epochs"] * first["batches"] * first["batch size"]
            length = [f"{seen / first['images']:.1f}", f"{statistics.mean(r['seconds'] for r in found):.0f}"]
        name = f"{row} (labels)" if needs_labels(row) else f"**{row}**" if "epochs" in first else row
        cells = [name, first["backbone"], str(first["dimension"]), *figures, *length, str(len(found))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def compared(rows: Rows, starts: Mapping[str, str], images: int) -> list[str]:
    """Each method less its random start, less raw pixels and less SimCLR."""
    lines = ["| linear, points | − random start | − raw pixels | − simclr |", "|---|---:|---:|---:|"]
    for row, start in starts.items():
        cells = []
        for other, least in ((start, OVER_START), ("raw pixels", OVER_PIXELS), ("simclr", UNDER_SIMCLR)):
            if row not in rows or other not in rows or row == other:
                cells.append("–")
                continue
            mean, half = difference(rows[row], rows[other], images)
            cells.append(f"{mean:+.1f} ± {half:.1f}{' †' if mean < least else ''}")
        if row in rows:
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def picture(rows: Rows, name: str, title: str) -> None:
    """kNN accuracy while training, against the CPU seconds, of the first seed of each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    shown = {row: next(iter(seeds.values()))["curve"] for row, seeds in rows.items() if "curve" in seeds[min(seeds)]}
    order = sorted(shown, key=lambda row: -shown[row][-1][1])
    for number, row in enumerate(order):
        seconds, figures = zip(*shown[row], strict=True)
        style = "--" if needs_labels(row) else "-"
        colour = plt.get_cmap("tab20")(number % 20)
        label = f"{row} {100 * figures[-1]:.0f}"
        axes.plot(seconds, [100 * value for value in figures], style, marker=".", color=colour, label=label)
    axes.set(xlabel="CPU seconds", ylabel="kNN accuracy on training images, leave one out, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(HERE / "figures" / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def write_page(where: Where, budget: float, rows: Rows, starts: Mapping[str, str]) -> None:
    """The section of RESULTS.md and its picture."""
    images, title = len(where.split("test")), TITLES.get(where.data, where.data)
    waiting = [row for row in starts if row not in rows]
    name = f"methods-{where.data}-{budget:g}s"
    lines = [
        f"## All methods on {title}, the same {budget:g} CPU seconds each",
        "",
        f"`python benchmarks/methods.py --data {where.data} --data-dir FOLDER --cpu-seconds {budget:g} --seed 0` (more "
        f"seeds: `--seed 0 1 2`) on {machine()}. One thread; what a method prepares is part of the budget, and "
        "schedules end with it (the table has the CPU seconds of the run itself: other work on the machine lengthens "
        "steps). Hyper-parameters are the recipes' own; a warm-up keeps its share of the training. "
        f"Accuracy on the {images:,} test images in % with half of the 95 % interval: t over the seeds, with one seed "
        "Wilson over the test images. Epochs: images seen, by the number of training images. Rows that read labels are "
        "for comparison.",
        "",
        *table(rows, images),
        "",
        *([f"Not yet computed, by the same command: {', '.join(waiting)}.", ""] if waiting else []),
        "Differences with half of the 95 % interval, paired by seed, with one seed by test image. † misses what is "
        f"aimed at after {AIMED_AT:,} CPU seconds: "
        f"{OVER_START:g} points above the random start, {OVER_PIXELS:g} above raw pixels, at most {-UNDER_SIMCLR:g} "
        "below SimCLR.",
        "",
        *compared(rows, starts, images),
    ]
    if any("curve" in row for seeds in rows.values() for row in seeds.values()):
        picture(rows, name, f"{title}, one thread, first seed")
        lines += ["", f"![accuracy against seconds](figures/{name}.svg)"]
    section(name, "\n".join(lines))
