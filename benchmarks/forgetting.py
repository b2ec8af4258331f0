"""Forgetting on Fashion-MNIST with the 2-conv network of Shen et al. 2024.

``python benchmarks/forgetting.py train`` trains the originals and the retrained models,
``python benchmarks/forgetting.py run`` forgets with every method and writes the section ``forgetting`` of RESULTS.md,
``python benchmarks/forgetting.py clock`` times LAF against retraining on a machine that does nothing else,
``python benchmarks/forgetting.py search --task "data removal"`` tries LAF settings, judged on training images only.
All of it goes on where it was interrupted. ``--epochs 6 --lr 4e-4``: a third of the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from _results import machine, save, section

from unlabeled.data import open_data
from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.forgetting.classifier import Classifier, paper_cnn
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.epochs import Checkpoint, Seconds
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, Preprocess, UnlabelledImages
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.measures import accuracy
from unlabeled.forgetting.judge.tables import table, values, verdict
from unlabeled.forgetting.methods import forgetter_class
from unlabeled.forgetting.methods.retrain import RetrainConfig
from unlabeled.forgetting.protocol import Protocol, Row
from unlabeled.forgetting.store import Trained, cached
from unlabeled.forgetting.training.supervised import train_classifier

RESULTS = Path(__file__).parent / "results"
TASKS = {"class removal": "class:0", "data removal": "random:40%@5-9", "noisy labels": "noisy:60%@0-4"}
UNSEEN = 1000
"""Test images given to the stopping rule as unseen ones, without labels; nothing is judged on them."""

# The released settings (20 epochs of all images, 5e-5, 1e-4) take more time than a quarter of retraining.
# These were chosen by trials like ``search``, on training images: class removal's on seeds 0 and 1 (Train_f at most
# 5 %, then the highest Train_r), the others on seed 0 by the distance to the retrained model.
FAST = {"vae_batch_size": 256, "max_retain": 10_000, "stop": "never"}
LAF_SETTINGS: dict[str, dict[str, Any]] = {
    "class removal": {**FAST, "epochs": 4, "lr_ue": 5e-5, "lr_ra": 4e-4, "temperature": 10.0},
    "data removal": {**FAST, "epochs": 1, "lr_ue": 2e-4, "lr_ra": 1.5e-4, "temperature": 15.0},
    "noisy labels": {**FAST, "epochs": 2, "lr_ue": 1e-4, "lr_ra": 2e-4, "temperature": 10.0},
}
ACCURACIES = ("train_r", "train_f", "test", "test_r", "test_f", "time_ratio")
LEAKAGE = ("asr", "mia_accuracy_outputs", "mia_auc_outputs", "mia_auc_features", "member_share_outputs")
INSIDE = (
    "cka_forget_retrained", "cka_forget_original", "cka_retain_retrained", "rus", "reprobe_linear_test_f",
    "reprobe_linear_few_test_f", "reprobe_knn_test_f", "reprobe_linear_test_r", "reprobe_linear_test",
    "relearn_ratio", "zrf", "activation_distance", "aus",
)  # fmt: skip


def forgetter(name: str, **settings: Any) -> AnyForgetter:
    """A method with some settings of its own."""
    kind = forgetter_class(name)
    return kind(kind.Config(**settings))


def forgetters(task: str, everything: bool) -> dict[str, AnyForgetter]:
    """Methods by row name: LAF's variants, then (``everything``) the baselines."""
    laf = LAF_SETTINGS[task]
    rule: dict[str, Any] = {"stop": "unseen", "stop_every": 5}
    if task == "class removal":
        rule = {"stop": "answers", "stop_every": 5}
    rows = {
        "laf": forgetter("laf", **laf),
        f"laf, stop={rule['stop']}": forgetter("laf", **{**laf, **rule}),
        "laf_r": forgetter("laf_r", **laf),
        "lfssd": forgetter("lfssd", alpha=2.0),
    }
    if task == "class removal":
        rows |= {name: forgetter(name) for name in ("bad_teacher", "nmc", "lda", "ridge")}
        rows["boundary_expand"] = forgetter("boundary_expand", lr=1e-4)
    if everything:
        rows |= {name: forgetter(name) for name in ("negative_gradient", "random_label", "ssd", "salun", "duck")}
        rows |= {name: forgetter(name, epochs=1, lr=4e-4) for name in ("finetune", "l1_sparse")}
        rows["boundary_shrink"] = forgetter("boundary_shrink", lr=1e-4)
        rows["scrub"] = forgetter("scrub", epochs=2, max_epochs=1)
    return rows


FINDINGS = """What the figures say:

- Class removal: LAF meets every target on all seeds, and LAF+R comes closer to the retrained model.
- Head-only passes every black-box measure and its re-probe regains the class, for its embeddings are the original's.
  After LAF, neighbours and few labels regain less of the class than even after retraining: that is over-forgetting. The
  CKA to the retrained model falls, too, where attack scores, all near chance here, hardly show it.
- stop=answers stops several times earlier: the re-probes and the CKA come nearer to the retrained model's. Its gap in
  accuracy is smaller on two seeds and larger on one; the attack scores do not tell a difference.
- Noisy labels: LAF is within 3 points on all seeds, LAF+R closer. With labels SCRUB, DUCK and fine-tuning come nearest.
- Data removal: LAF is within 3 points in all three accuracies on two of three seeds; on the other one the original
  is itself 5 points above the retrained model on what is to be forgotten. LAF+R, which may read some labels of kept
  images, is within 3 points on all. Of the methods that read no label LAF is the best: LFSSD loses 7 points and more
  of test accuracy, and what stop=unseen leaves is the original. The squared form, chosen after a shorter training,
  destroys the fully trained model and is not used any more.
- Of the other methods only fine-tuning on what is kept and negative gradient, which read labels, are within 3 points
  on all seeds of data removal. Random label, SalUn and above all boundary shrink, made for whole classes, push the
  forgotten images out of classes where even the retrained model has them; SSD at its default changes
  nothing.""".splitlines()


class Models:
    """Originals and retrained models, trained once and kept."""

    def __init__(self, folder: Path, epochs: int, lr: float) -> None:
        self.folder = folder
        self.config = RetrainConfig(epochs=epochs, lr=lr)
        self.images, test = open_data("fashion-mnist", "train"), open_data("fashion-mnist", "test")
        self.labels = self.images.require_labels("forgetting")
        everything = np.arange(len(test), dtype=np.int64)
        labels = test.require_labels("forgetting")
        self.test = LabelledImages(test, labels, Preprocess(), everything[UNSEEN:])
        self.unseen = UnlabelledImages(test, Preprocess(), everything[:UNSEEN])

    def split(self, task: str, seed: int) -> ForgetSplit:
        return forget_split(TASKS[task], len(self.images), self.labels, seed=seed)

    def data(self, labels: np.ndarray, rows: np.ndarray | None = None) -> LabelledImages:
        return LabelledImages(self.images, labels, Preprocess(), rows)

    def train(self, name: str, data: LabelledImages, seed: int) -> Trained:
        template = paper_cnn(seed=seed)
        key = f"{name}-{self.config.epochs}-{self.config.lr:g}-{seed}-{data.fingerprint[:8]}".replace(" ", "_")

        def make(checkpoint: Checkpoint) -> Classifier:
            return train_classifier(template, data, Frame(self.config, seed, checkpoint=checkpoint), key)

        return cached(template, self.folder, key, make)

    def original(self, task: str, seed: int) -> Trained:
        split = self.split(task, seed)
        name = "original" if split.noisy_labels is None else "original-noisy"
        return self.train(name, self.data(split.training_labels(self.labels)), seed)

    def retrained(self, task: str, seed: int) -> Trained:
        # A seed of its own: a retrained model that shared the original's initialisation would be too close to it.
        rows = self.split(task, seed).retain_rows
        return self.train(f"retrain-{task}", self.data(self.labels, rows), seed + 1000)


def run(models: Models, task: str, seed: int, work: Path, everything: bool) -> list[Row]:
    """All rows of one task and seed."""
    split = models.split(task, seed)
    original, retrained = models.original(task, seed), models.retrained(task, seed)
    data = models.data(split.training_labels(models.labels))
    judged = Task(original.model, data, models.test, split, models.unseen, limit=4000)
    protocol = Protocol(judged, lambda _: retrained, work / "rows" / f"{task.replace(' ', '-')}-{seed}")
    return protocol.run(forgetters(task, everything), (seed,))


def clock(models: Models, rounds: int = 3) -> dict[str, list[float]]:
    """Wall and processor seconds of LAF on class removal, between two single epochs of retraining, ``rounds`` times."""
    task = "class removal"
    split, original = models.split(task, 0), models.original(task, 0).model
    retain = models.data(models.labels, split.retain_rows)
    data = ForgetData(retain, models.data(models.labels, split.forget_rows)).without_labels()
    epoch = RetrainConfig(epochs=1, lr=models.config.lr)
    found: dict[str, list[float]] = {"laf_wall": [], "laf_processor": [], "epoch_wall": [], "epoch_processor": []}

    def timed(name: str, work: Callable[[], object]) -> None:
        start = Seconds.now()
        work()
        for part, before, after in zip(("wall", "processor"), start, Seconds.now(), strict=True):
            found[f"{name}_{part}"].append(after - before)

    for _ in range(rounds):
        timed("epoch", lambda: train_classifier(paper_cnn(seed=0), retain, Frame(epoch)))
        timed("laf", lambda: forgetter("laf", **LAF_SETTINGS[task]).forget(original, data))
    timed("epoch", lambda: train_classifier(paper_cnn(seed=0), retain, Frame(epoch)))
    return found


def search(models: Models, task: str, seed: int) -> None:
    """Print Train_r and Train_f of the original, the retrained model and LAF under each settings of ``grid``."""
    split = models.split(task, seed)
    full = models.data(split.training_labels(models.labels))
    data = ForgetData(full.subset(split.retain_rows), full.subset(split.forget_rows))
    seen = [full.subset(split.retain_rows[::12]), full.subset(split.forget_rows[::3])]
    original = models.original(task, seed).model

    def show(model: Classifier, name: object) -> None:
        found = [100 * accuracy(apply_head(model, embed_all(model, s)), s.labels) for s in seen]
        print(f"{task}, seed {seed}: Train_r {found[0]:.2f}  Train_f {found[1]:.2f}  {name}", flush=True)

    show(original, "original")
    show(models.retrained(task, seed).model, "retrained")
    for settings in grid(task):
        show(forgetter("laf", **FAST, **settings).forget(original, data), settings)


def grid(task: str) -> list[dict[str, Any]]:
    """What ``search`` tries."""
    if task == "class removal":
        rates = [(1e-4, 2e-4), (5e-5, 2e-4), (5e-5, 4e-4), (2e-5, 2e-4), (1e-4, 4e-4)]
        return [{"epochs": 4, "temperature": 10.0, "lr_ue": ue, "lr_ra": ra} for ue, ra in rates]
    rates = [(5e-5, 1e-4), (1e-4, 2e-4), (2e-4, 2e-4), (2e-4, 1.5e-4), (2e-4, 1e-4)]
    return [{"epochs": 1, "lr_ue": ue, "lr_ra": ra, "temperature": t} for ue, ra in rates for t in (10.0, 15.0, 20.0)]


def gaps(rows: Sequence[Row]) -> str:
    """Mean distance of each method to the retrained model of the same seed, in points: accuracies and attack scores."""
    names = [n for n in ("train_r", "train_f", "test", "test_r", "test_f") if values(rows, "retrain", n)]
    names += ["asr", "mia_auc_outputs", "mia_auc_features", "member_share_outputs"]
    lines = ["| method | " + " | ".join(f"Δ {n}" for n in names) + " |", "|---|" + "---:|" * len(names)]
    for method in dict.fromkeys(r.method for r in rows):
        mine = {r.seed: r for r in rows if r.method == method}
        gold = {r.seed: r for r in rows if r.method == "retrain"}
        apart = {n: [r.measures[n] - gold[s].measures[n] for s, r in mine.items()] for n in names}
        cells = [f"{100 * np.mean(apart[n]):+.1f}" for n in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(found: Mapping[str, list[Row]]) -> str:
    """On how many seeds each of LAF's forms meets what was asked for: a Markdown table."""
    asked: dict[str, dict[str, Callable[[Row, Row], bool]]] = {
        task: {
            f"{n} within 3 points of retrained": lambda r, gold, n=n: abs(r.measures[n] - gold.measures[n]) <= 0.03
            for n in ("train_r", "train_f", "test")
        }
        for task in TASKS
        if task != "class removal"
    }
    asked["class removal"] = {
        "test_f at most 5 %": lambda r, gold: r.measures["test_f"] <= 0.05,
        "test_r within 3 points of retrained": lambda r, gold: (
            abs(r.measures["test_r"] - gold.measures["test_r"]) <= 0.03
        ),
        "at most 1/4 of retraining's processor time": lambda r, gold: r.time_ratio <= 0.25,
    }
    lines = ["| task | target | method | met on | seeds |", "|---|---|---|---|---|"]
    for task, rows in found.items():
        gold = {r.seed: r for r in rows if r.method == "retrain"}
        for target, met in asked[task].items():
            for method in ("laf", "laf, stop=answers", "laf, stop=unseen", "laf_r"):
                mine = [
                    r for r in rows if r.method == method and not (r.time_ratio != r.time_ratio and "time" in target)
                ]
                if mine:
                    good = [r.seed for r in mine if met(r, gold[r.seed])]
                    lines.append(f"| {task} | {target} | {method} | {good or 'none'} | of {[r.seed for r in mine]} |")
    return "\n".join(lines)


def clocked(seconds: Mapping[str, list[float]], epochs: int) -> str:
    """What ``clock`` measured, as a sentence."""
    parts = []
    for kind in ("wall", "processor"):
        laf, epoch = (statistics.median(seconds[f"{name}_{kind}"]) for name in ("laf", "epoch"))
        parts.append(f"{laf:.1f} against {epochs} × {epoch:.1f} s of {kind} time, {laf / (epochs * epoch):.3f} of it")
    return f"LAF on class removal and retraining, measured in turn in one process: {'; '.join(parts)} (medians)."


def report(found: Mapping[str, list[Row]], args: argparse.Namespace) -> str:
    """The section of RESULTS.md."""
    clock_file = RESULTS / "forgetting-clock.json"
    out = [
        "## Forgetting: Fashion-MNIST, 2-conv network",
        "",
        f"`python benchmarks/forgetting.py train && python benchmarks/forgetting.py run` on {machine()}, one thread. "
        f"Training: Adam {args.lr:g}, weight decay 1e-4, batches of 32, {args.epochs} epochs (the paper's: 1e-4, 20). "
        "Mean ± half of its 95 % interval over the seeds that ran; LAF's settings were chosen on training images of "
        "seed 0 (class removal: 0 and 1), "
        "those of the other methods are their defaults or the ones beside them in the script. "
        "Accuracies and shares in %. `time_ratio` is processor time over retraining's. At most 4000 retain, forget and "
        f"test images are measured; the first {UNSEEN} test images serve only the stopping rule, unlabelled. "
        "`test_f`: test images of the removed class. `member_share`: forget images that a balanced attacker (fitted "
        "to retain against test images) takes for members. CKA, re-probes and features look at the extractor alone.",
    ]
    if clock_file.is_file():
        out += ["", clocked(json.loads(clock_file.read_text()), args.epochs)]
    out += ["", "Targets, seed by seed", "", targets(found), "", *FINDINGS]
    for task, rows in found.items():
        seeds = sorted({r.seed for r in rows})
        settings = ", ".join(f"{k}={v}" for k, v in LAF_SETTINGS[task].items())
        out += ["", f"### {task} (`{TASKS[task]}`), seeds {seeds}", "", f"LAF: {settings}."]
        out += ["", "Outputs and time", "", table(rows, ACCURACIES)]
        out += ["", "Distance to the retrained model, in points", "", gaps(rows)]
        out += ["", "Leakage", "", table(rows, LEAKAGE), "", "The representation", "", table(rows, INSIDE)]
        out += ["", *(f"- {line}" for line in verdict(rows))]
    return "\n".join(out)


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON: what could not be measured is None."""
    kept = {**asdict(row), "folder": None, "measures": {k: v if v == v else None for k, v in row.measures.items()}}
    return {k: None if isinstance(v, float) and v != v else v for k, v in kept.items()}


def row_of(kept: Mapping[str, Any]) -> Row:
    """The reverse of :func:`plain`."""
    measured = {k: float("nan") if v is None else v for k, v in kept["measures"].items()}
    numbers = {k: float("nan") if v is None and k.endswith(("seconds", "ratio")) else v for k, v in kept.items()}
    return Row(**{**numbers, "measures": measured, "folder": ""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["train", "run", "search", "clock", "report"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", choices=list(TASKS), action="append", help="default: all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--baselines", type=int, default=3, help="run: seeds of the baselines that need labels")
    parser.add_argument(
        "--baseline-task", choices=list(TASKS), action="append", help="run: tasks of those; default: all"
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlabeled-forgetting"))
    args = parser.parse_args()
    training = {"epochs": args.epochs, "lr": args.lr}

    def known() -> dict[str, list[Row]]:
        """The rows of this training, read again each time: several of these may run side by side."""
        figures = RESULTS / "forgetting.json"
        kept = json.loads(figures.read_text()) if figures.is_file() else {}
        rows = kept["rows"] if kept.get("training") == training else {}
        return {task: [row_of(r) for r in rows[task]] for task in TASKS if task in rows}

    if args.command == "report":
        section("forgetting", report(known(), args))
        return
    torch.set_num_threads(1)
    models = Models(args.work / "models", args.epochs, args.lr)
    if args.command == "clock":
        save("forgetting-clock", clock(models))
        return
    for task in args.task or list(TASKS):
        for seed in range(args.seeds):
            if args.command == "search":
                search(models, task, seed)
                continue
            if args.command == "train":
                for trained in (models.original(task, seed), models.retrained(task, seed)):
                    print(f"{task}, seed {seed}: {trained.seconds.wall:.1f} s", flush=True)
                continue
            wanted = seed < args.baselines and task in (args.baseline_task or list(TASKS))
            mine = run(models, task, seed, args.work, wanted)
            found = known()
            others = [row for row in found.get(task, []) if row.seed != seed]
            found[task] = sorted(others + mine, key=lambda row: row.seed)
            rows = {name: [plain(row) for row in found[name]] for name in TASKS if name in found}
            save("forgetting", {"training": training, "rows": rows})
            section("forgetting", report(found, args))
    if args.command == "run":
        print(report(known(), args))


if __name__ == "__main__":
    main()
