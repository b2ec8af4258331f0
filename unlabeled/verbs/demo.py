"""The whole life of a representation on the images that travel with the package."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlabeled.backbones import Backbone
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.progress import say
from unlabeled.data import open_data
from unlabeled.forgetting.protocol import Row
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.runs.models import Pixels, load_backbone, starting_backbone
from unlabeled.verbs.demo_forget import forget_a_class
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import keep_report, probe_model
from unlabeled.verbs.report import report

DATA = "fashion-mini"


@dataclass(frozen=True)
class Demo:
    """What the demo measured and wrote."""

    out: Path
    reports: Sequence[dict[str, Any]]
    """Of the probes: the floors, then the pretrained backbone."""
    rows: list[Row]
    """Of the forgetting, a method each."""
    forgotten: str
    page: Path
    seconds: float


def demo(out: Path, epochs: int = 30) -> Demo:
    """Pretrain on 8,000 real images without labels, probe, and show what it gained over doing nothing.

    Args:
        out: the folder for the run and everything about it; an unfinished demo is resumed.
        epochs: passes over the images; the default takes a few minutes on two CPU cores.

    Returns:
        What was measured; the command line prints it as tables.
    """
    start = time.monotonic()
    recipe = load_recipe("simclr", [f"data={DATA}", f"epochs={epochs}"])
    run = Run(out)
    if not run.exists() and run.foreign():
        raise UserError(f"{out} is not empty and holds no demo; choose another folder with --out.")
    say(f"1/4  pretraining a {recipe.backbone.name} with SimCLR on {DATA} (8,000 images, no labels) …")
    pretrain(recipe, out, resume=run.exists())
    say("2/4  probing: how well do simple classifiers read the frozen features of 2,000 held-out images? …")
    train, test = open_data(DATA, "train"), open_data(DATA, "test")
    mean, std = train.statistics()
    fresh = Backbone(starting_backbone(recipe, *train.shape[:2], mean, std)).eval()
    reports = [
        probe_model(Pixels(train.shape[0]), train, test, name="raw pixels"),
        probe_model(fresh, train, test, name="random initialisation"),
        probe_model(fresh, train, test, name="random, BatchNorm calibrated", calibrate=True),
        probe_model(load_backbone(out), train, test, name="pretrained (SimCLR, no labels)"),
    ]
    atomic_write_json(out / run_files.DEMO, reports)
    keep_report(run, {**reports[-1], "compared_with": reports[:-1]})
    say("3/4  forgetting: a small classifier unlearns the first class, reading no label …")
    rows, forgotten = forget_a_class(train, test, out / run_files.FORGETTING / "demo")
    say("4/4  writing the page …")
    page = report([out])
    return Demo(out, reports, rows, forgotten, page, time.monotonic() - start)
