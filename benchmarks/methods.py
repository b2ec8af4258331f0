"""Every recipe on Fashion-MNIST with the same budget of seconds, between floor and ceiling.

    python benchmarks/methods.py [--seconds 120] [--seeds 0 1 2] [--only simclr swav]

Each finished (recipe, seed) is kept in benchmarks/results/methods.json and not computed again. The budget is met by
choosing whole epochs (at least one) from the seconds per step, which are measured first; so the runs themselves may
share the machine, and are repeatable. Hyper-parameters are the recipes' own, G-SimCLR's autoencoder is not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import HERE, machine, save, section

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.bench.step import Case, whole
from unlabeled.data import open_data
from unlabeled.probes.measures import rankme
from unlabeled.recipes.evaluate import bank_of, probe_model
from unlabeled.recipes.models import Pixels, load_backbone, starting_backbone
from unlabeled.recipes.pretrain import pretrain
from unlabeled.recipes.resolve import load_recipe

DATA = "fashion-mnist"
RUNS: dict[str, tuple[str, list[str]]] = {
    "rotation": ("rotation", []),
    "simclr": ("simclr", []),
    "gsimclr": ("gsimclr", []),
    "swav": ("swav", []),
    "mae": ("mae", []),
    "random_teacher": ("random_teacher", []),
    "random_teacher on noise": ("random_teacher", ["data=noise:60000", "data.size=28", "data.channels=1"]),
    "supervised": ("supervised", []),
}


def plan(wanted: list[str]) -> dict[str, float]:
    """Median seconds per step of the real loop, measured once on a machine that does nothing else, and kept."""
    kept = HERE / "results" / "methods-steps.json"
    steps: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for key in wanted:
        if key not in steps:
            name, more = RUNS["simclr" if key == "gsimclr" else key]  # the same steps, without its autoencoder
            steps[key] = statistics.median(whole(Case.of(name, (f"data={DATA}", *more)), blocks=5, steps=3))
            print(f"{key}: {steps[key] * 1e3:.0f} ms per step", flush=True)
            save("methods-steps", steps)
    return steps


def epochs_for(key: str, step: float, seconds: float) -> int:
    """Whole epochs that fit the budget, at least one."""
    name, more = RUNS[key]
    return max(1, math.floor(seconds / (step * (60000 // load_recipe(name, more).batch_size))))


def measured(model: Backbone | Pixels, name: str, calibrate: bool = False) -> dict[str, Any]:
    """Linear, kNN and NMC accuracy on the test images, and RankMe of their embeddings."""
    train_images, test_images = open_data(DATA, "train"), open_data(DATA, "test")
    report = probe_model(model, train_images, test_images, name=name, calibrate=calibrate)
    features = np.asarray(bank_of(model, test_images).features, np.float32)
    row = {probe: report["probes"][probe]["top1"] for probe in ("linear", "knn", "nmc")}
    return {**row, "rankme": rankme(torch.from_numpy(features)), "dimension": report["dimension"]}


def fresh(name: str, seed: int) -> Backbone:
    """The recipe's backbone before any training."""
    recipe, images = load_recipe(name, [f"seed={seed}"]), open_data(DATA, "train")
    return Backbone(starting_backbone(recipe, *images.shape[:2], *images.statistics())).eval()


def floor(seed: int) -> dict[str, dict[str, Any]]:
    """Rows that need no training."""
    return {
        "raw pixels": measured(Pixels(1), "raw pixels"),
        "random ResNet": measured(fresh("simclr", seed), "random"),
        "random ResNet, BatchNorm calibrated": measured(fresh("simclr", seed), "random", calibrate=True),
        "random ViT": measured(fresh("mae", seed), "random ViT"),
    }


def trained(key: str, seed: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Pretrain one recipe and measure what came out (and the teacher, where there is one)."""
    name, more = RUNS[key]
    overrides = [f"data={DATA}", *more, f"seed={seed}", "health.every=0", "output.logger=none"]
    out = folder / f"{key.replace(' ', '-')}-s{seed}"
    start = time.monotonic()
    run = pretrain(name, out, overrides=(*overrides, f"epochs={epochs}"), resume=out.exists())
    row = {"epochs": epochs, "seconds": time.monotonic() - start}
    features = run.recipe().features
    row |= measured(load_backbone(run.folder, layer=features.layer, pool=features.pool), key)
    if (run.folder / "teacher").exists():
        row["teacher"] = measured(Backbone(backbones.load(run.folder / "teacher")).eval(), "teacher")
    return row


def cell(values: list[float], scale: float = 100.0) -> str:
    """Mean ± sample standard deviation over seeds."""
    mean = statistics.mean(values) * scale
    return f"{mean:.1f} ± {statistics.stdev(values) * scale:.1f}" if len(values) > 1 else f"{mean:.1f}"


def page(results: dict[str, dict[str, Any]], seconds: float) -> str:
    """The section of RESULTS.md."""
    by_row: dict[str, list[dict[str, Any]]] = {}
    for key, row in results.items():
        by_row.setdefault(key.rpartition("/")[0], []).append(row)
        if "teacher" in row:
            by_row.setdefault(f"{key.rpartition('/')[0]}: its teacher", []).append(row["teacher"])
    lines = []
    for name, rows in by_row.items():
        figures = [cell([row[p] for row in rows]) for p in ("linear", "knn", "nmc")]
        rank = cell([row["rankme"] for row in rows], 1.0)
        epochs = str(rows[0].get("epochs", "–"))
        lines.append(f"| {name} | {' | '.join(figures)} | {rank} | {epochs} | {len(rows)} |")
    head = "| recipe | linear | kNN | NMC | RankMe | epochs | seeds |\n|---|---|---|---|---|---|---|\n"
    return (
        f"## All methods on {DATA}, the same {seconds:.0f} seconds each\n\n`python benchmarks/methods.py "
        f"--seconds {seconds:.0f}` on {machine()}. Accuracy on the 10,000 test images, %.\n\n{head}" + "\n".join(lines)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=list(RUNS))
    parser.add_argument("--plan", action="store_true", help="only measure the seconds per step")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    options = parser.parse_args()
    kept = HERE / "results" / "methods.json"
    results: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    steps = plan(options.only)
    if options.plan:
        return
    for seed in options.seeds:
        if f"raw pixels/{seed}" not in results:
            results |= {f"{name}/{seed}": row for name, row in floor(seed).items()}
            save("methods", results)
        for key in options.only:
            if f"{key}/{seed}" not in results:
                results[f"{key}/{seed}"] = trained(
                    key, seed, epochs_for(key, steps[key], options.seconds), options.runs
                )
                print(key, seed, results[f"{key}/{seed}"], flush=True)
                save("methods", results)
                section("methods", page(results, options.seconds))
    section("methods", page(results, options.seconds))


if __name__ == "__main__":
    main()
