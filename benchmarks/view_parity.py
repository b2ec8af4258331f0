"""Does it matter to the representation whose augmentation it was trained with? Ours against torchvision's, on PIL.

    python benchmarks/view_parity.py [--epochs 3] [--seeds 0 1 2]

SimCLR on fashion-mini by the built-in recipe, with the same batches, initial weights and optimiser; only the code that
makes the two views differs. The linear probe is chosen on the training images and read once on the 2,000 test images.
Each finished run is kept by machine in benchmarks/results/view_parity.json and not computed again there: the same seed
rounds differently on another machine, which is as good as another seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms as T
from _results import HERE, machine, save, section
from PIL import Image
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.progress import set_quiet
from unlabeled.data import open_data
from unlabeled.data.spec import ViewSpec
from unlabeled.engine.loop import Keeping, train
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.prepared import prepare
from unlabeled.verbs.probe import probe_model


class TorchvisionViews:
    """The views of a specification, made image by image with torchvision's transforms."""

    def __init__(self, spec: ViewSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        colour = T.ColorJitter(spec.brightness, spec.contrast, spec.saturation, spec.hue)
        self.count = spec.count
        self.transform = T.Compose(
            [
                T.RandomResizedCrop(28, spec.scale, spec.ratio),
                T.RandomHorizontalFlip(spec.flip),
                T.RandomApply([colour], spec.jitter),
                T.RandomGrayscale(spec.gray),
                T.ToTensor(),
                T.Normalize(mean, std),
            ]
        )

    def __call__(
        self, images: Tensor, *, key: tuple[int | str, ...], first: int = 0, total: int | None = None
    ) -> list[Tensor]:
        pictures = [Image.fromarray(image[0].numpy()) for image in images]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.derive(*key))
            return [torch.stack([self.transform(picture) for picture in pictures]) for _ in range(self.count)]


def accuracy(whose: str, seed: int, epochs: int) -> dict[str, Any]:
    """Linear and kNN accuracy after a short training."""
    recipe = load_recipe("simclr", [f"seed={seed}", f"epochs={epochs}", "health.every=0"])
    ready = prepare(recipe)
    mean, std = ready.images.statistics()
    views = ready.views if whose == "unlabeled" else TorchvisionViews(recipe.views[0], mean, std)
    with tempfile.TemporaryDirectory() as folder:
        train(
            ready.method, ready.images, views, recipe.optimizer, epochs=epochs, batch_size=recipe.batch_size, seed=seed,
            hardware=ready.hardware, keeping=Keeping(Path(folder), save_seconds=1e9),
        )  # fmt: skip
    test = open_data("fashion-mini", "test")
    report = probe_model(Backbone(ready.method.backbone).eval(), ready.images, test, name=whose)
    return {probe: report["probes"][probe]["top1"] for probe in ("linear", "knn")}


def page(found: dict[str, dict[str, dict[str, Any]]], epochs: int) -> str:
    """The section of RESULTS.md."""
    lines = ["| machine | views by | linear | kNN | seeds |", "|---|---|---:|---:|---:|"]
    differences: list[float] = []
    for where, runs in found.items():
        for whose in ("unlabeled", "torchvision"):
            rows = [row for key, row in runs.items() if key.startswith(f"{whose}/{epochs}/")]
            cells = []
            for probe in ("linear", "knn"):
                values = [100 * row[probe] for row in rows]
                spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "")
            lines.append(f"| {where.split(',')[1].strip()} | {whose} | {' | '.join(cells)} | {len(rows)} |")
        for key, ours in runs.items():
            theirs = runs.get(key.replace("unlabeled", "torchvision"))
            if key.startswith(f"unlabeled/{epochs}/") and theirs:
                differences.append(100 * (ours["linear"] - theirs["linear"]))
    keys = {key for runs in found.values() for key in runs if f"/{epochs}/" in key}
    repeats = [[100 * runs[key]["linear"] for runs in found.values() if key in runs] for key in sorted(keys)]
    moved = [max(values) - min(values) for values in repeats if len(values) > 1]
    chance = (
        f" The same seed and views on another machine, where nothing but rounding differs, move it by "
        f"{statistics.mean(moved):.1f} points on average, {max(moved):.1f} at most."
        if moved
        else ""
    )
    error = f" ± {statistics.stdev(differences) / len(differences) ** 0.5:.2f}" if len(differences) > 1 else ""
    return (
        f"## Our views against torchvision's: what is learned\n\n`python benchmarks/view_parity.py --epochs {epochs}` "
        f"on each of:\n\n" + "\n".join(f"- {where}" for where in found) + "\n\n"
        f"SimCLR on fashion-mini, {epochs} epochs; accuracy on the 2,000 test images in %, mean ± standard "
        "deviation over seeds. Same batches, initial weights and optimiser.\n\n"
        + "\n".join(lines)
        + "\n\nLinear accuracy, ours less torchvision's, pair by pair: "
        + ", ".join(f"{difference:+.1f}" for difference in differences)
        + f" points; mean {statistics.mean(differences):+.2f}{error} (standard error).{chance}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    set_quiet(True)
    kept = HERE / "results" / "view_parity.json"
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    runs = found.setdefault(machine(), {})
    for seed in options.seeds:
        for whose in ("unlabeled", "torchvision"):
            key = f"{whose}/{options.epochs}/{seed}"
            if key not in runs:
                runs[key] = accuracy(whose, seed, options.epochs)
                print(key, runs[key], flush=True)
                save("view_parity", found)
    section("view_parity", page(found, options.epochs))


if __name__ == "__main__":
    main()
