"""Make a trained model forget images, prove it, and leave a run like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from torch import nn

from unlabeled import backbones
from unlabeled.core import run_files
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write_json, atomic_write_text, cache_dir
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import Forgetter
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import LabelledImages, Preprocess, UnlabelledImages
from unlabeled.forgetting.judge.evaluate import Task
from unlabeled.forgetting.judge.tables import ACCURACY, LEAKAGE, REPRESENTATION, table, verdict
from unlabeled.forgetting.methods import METHODS
from unlabeled.forgetting.protocol import Protocol, Retrainer, Row
from unlabeled.forgetting.record import write_record
from unlabeled.forgetting.store import Trained, cached
from unlabeled.probes.arrays import Rows
from unlabeled.recipes.load import apply_overrides, explain
from unlabeled.recipes.schema import DataConfig
from unlabeled.recipes.training_data import held_out, pixel_prints, retained, trained_rows, usable
from unlabeled.report.forgetting import save_pictures
from unlabeled.runs.classifier import load_classifier as saved_classifier
from unlabeled.runs.classifier import save_classifier
from unlabeled.runs.folder import Run, command_line, environment
from unlabeled.runs.images import data_of, rule_of, splits_of
from unlabeled.runs.models import backbone_folder, input_size
from unlabeled.verbs.pretrain import pretrain

TIMES = ("seconds", "time_ratio")


@dataclass(frozen=True)
class Forgotten:
    """Where the new model is, and what was measured."""

    run: Run
    rows: list[Row]
    verdict: list[str]
    description: str


def forget(
    model: str | Path,
    what: str,
    *,
    data: str | None = None,
    data_dir: str | None = None,
    method: str = "laf",
    settings: Sequence[str] = (),
    compare: Sequence[str] = (),
    retrain: bool = True,
    seeds: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
) -> Forgotten:
    """Forget ``what``, measure it beside the original, the retrained and the head-only model, and keep everything.

    Args:
        model: a run folder (with its classifier, if it has one), or a backbone folder. Never changed.
        what: the forget set: ``class:0``, ``random:10%``, ``indices:FILE``, …
        data: the data the model was trained on; default: what the run says.
        data_dir: where data sets lie.
        method: which algorithm makes the new model.
        settings: ``"key=value"`` settings of the algorithm.
        compare: further algorithms, with their default settings, for the table.
        retrain: also train anew without the forget set (by the run's own recipe), the standard to compare with.
        seeds: how many seeds to measure; the model that is kept is the first one's.
        seed: the first of them; also of random forget sets.
        out: the run folder to write; default: beside the model's.

    Returns:
        The new run, and the rows of the table.

    Raises:
        UserError: no such model, data, method, setting or forget set, or a folder that must not be written to.
    """
    methods = {name: _method(name, settings if name == method else ()) for name in dict.fromkeys([method, *compare])}
    source = Run(model)
    original = load_classifier(model)
    config = _data_of(source, data, data_dir)
    train, test = splits_of(config, rule_of(source, config))
    every = train
    if source.exists():
        train = usable(train, source.recipe())
    trained = _trained(train, source)
    split = _split(what, train, trained, source, seed, _elsewhere(every, train, trained, test))
    folder = Run(out if out is not None else f"{str(model).rstrip('/')}-without-{_slug(what)}-{method}")
    if folder.folder.resolve() == Path(model).resolve():
        raise UserError("--out is the model's own folder; the original is never changed, choose another folder.")
    if folder.foreign() and not folder.forgets():
        raise UserError(f"{folder.folder} is not empty and was not made by forgetting; choose another --out.")
    _refuse_other_request(folder, split)
    unseen = any(getattr(m.config, "stop", "") == "unseen" for m in methods.values())
    if source.left_out.is_file():
        test = held_out(source.left_out, train, test)
    task = _task(original, train, trained, test, split, unseen=unseen)
    device = chosen()
    say(f"forgetting {split.description}")
    with folder.lock():
        retrainer = _retrainer(source, task, trained, len(train)) if retrain and source.exists() else None
        protocol = Protocol(task, retrainer, folder.folder / run_files.FORGETTING, device=device)
        rows = protocol.run(methods, range(seed, seed + seeds))
        new = protocol.forgotten(methods[method], seed).model
        before, after = (next(r for r in rows if r.method == label) for label in ("original", method))
        gold = next((r for r in rows if r.method == "retrain"), None)
        write_record(folder.folder / run_files.RECORD, task, methods[method], before, after, gold)
        said = verdict(rows)
        if gold is not None and (start := source.recipe().backbone.weights) is not None:
            said.append(
                f"retrain: it started from {start}, as the original did; what those weights have met, it has met."
            )
        tables = [table(rows, names) for names in ((*ACCURACY, *TIMES), LEAKAGE, REPRESENTATION)]
        atomic_write_text(
            folder.folder / run_files.TABLE, "\n\n".join([f"# {split.description}", *tables, *said]) + "\n"
        )
        atomic_write_json(folder.folder / run_files.FORGETTING / "rows.json", [_plain(row) for row in rows])
        gone = split.classes if split.removes_classes else ()
        first = [asdict(r) for r in rows if r.seed == seed and r.method in ("original", "retrain", "head_only", method)]
        save_pictures(folder.folder / run_files.FORGETTING / run_files.PICTURES, first, train.classes, gone)
        left_out = _left_out(split, trained, len(train))
        prints = pixel_prints(train.subset(left_out.retain_rows))
        replace(left_out, data=train.fingerprint, prints=prints).save(folder.left_out)
        _export(new, model, folder)
    return Forgotten(folder, rows, said, split.description)


def load_classifier(model: str | Path) -> Classifier:
    """A run's backbone with its classifier, or without one where none was trained."""
    backbone, found = backbones.load(backbone_folder(model)), saved_classifier(Path(model))
    return Classifier(backbone, found[0] if found else None).eval()


def _method(name: str, settings: Sequence[str]) -> Forgetter:
    if name not in METHODS:
        raise UserError(f"there is no forgetting method '{name}'.{nearest(name, METHODS)}")
    if name == "retrain":
        raise UserError("retrain is always compared with (see --no-retrain); choose a method that forgets.")
    kind = METHODS[name]
    try:
        config = kind.Config.model_validate(apply_overrides({}, settings))
    except ValidationError as error:
        raise explain(error, kind.Config, f"method {name}") from error
    make: type = kind
    built: Forgetter = make(config)
    return built


def _data_of(source: Run, data: str | None, data_dir: str | None) -> DataConfig:
    # all rows: a request counts those that an earlier one made the model forget, too
    config = data_of(source, data, data_dir).model_copy(update={"without": None})
    if source.exists():
        return config
    channels, size, _ = input_size(source.folder)
    return config.model_copy(update={"channels": channels, "size": size})


def _trained(images: ImageSet, source: Run) -> Rows:
    """The rows that are in the model: those it was trained on, less those an earlier request made it forget."""
    if source.left_out.is_file():
        return retained(source.left_out, images)
    return trained_rows(images, source.recipe()) if source.exists() else np.arange(len(images))


def _left_out(split: ForgetSplit, trained: Rows, everything: int) -> ForgetSplit:
    """All rows of the data that are not in the model any more, or never were."""
    kept = trained[split.retain_rows]
    gone = np.setdiff1d(np.arange(everything), kept)
    return replace(split, forget_rows=gone, retain_rows=kept, noisy_labels=None)


def _refuse_other_request(folder: Run, split: ForgetSplit) -> None:
    """Keep the record of a request from being replaced by that of another."""
    path = folder.folder / run_files.SPLIT
    if path.is_file() and not np.array_equal((kept := ForgetSplit.load(path)).forget_rows, split.forget_rows):
        raise UserError(
            f"{folder.folder} holds the answer to another request ({kept.description}); choose another --out."
        )


def _elsewhere(every: ImageSet, train: ImageSet, trained: Rows, test: ImageSet) -> dict[str, str]:
    """The files of images that are not in the model, each with the reason."""
    out = dict.fromkeys(test.paths or (), "held out and never trained on")
    out |= dict.fromkeys(every.paths or (), "without a label and not trained on")
    out |= dict.fromkeys(train.paths or (), "forgotten before or never trained on")
    held = {train.paths[row] for row in trained} if train.paths else set()
    return {path: why for path, why in out.items() if path not in held}


def _split(
    what: str, images: ImageSet, trained: Rows, source: Run, seed: int, elsewhere: dict[str, str]
) -> ForgetSplit:
    train = images if len(trained) == len(images) else images.subset(trained)
    if what.startswith("noisy:"):
        recipe = source.recipe() if source.exists() else None
        gone = source.left_out.is_file() or (recipe is not None and recipe.data.without is not None)
        if recipe is None or recipe.data.corrupt != what or gone:
            raise UserError(
                f"--forget {what}: the model was not trained on these wrong labels; train one that was with "
                f"`unlabeled pretrain supervised data.corrupt={what}`."
            )
        seed = recipe.seed
    return forget_split(
        what,
        len(train),
        train.labels,
        classes=train.classes,
        paths=train.paths,
        elsewhere=elsewhere,
        rows=trained,
        seed=seed,
    )


def _task(
    original: Classifier, train: ImageSet, trained: Rows, test: ImageSet, split: ForgetSplit, *, unseen: bool
) -> Task:
    cfg: dict[str, Sequence[float]] = original.extractor.pretrained_cfg  # type: ignore[assignment]
    preprocess = Preprocess(tuple(cfg["mean"]), tuple(cfg["std"]))
    shown, judged = np.arange(0), np.arange(len(test))
    if unseen:  # half of the test images serve the stopping rule, the other half judges
        shown, judged = judged[::2], judged[1::2]
    if train.labels is None or test.labels is None:
        parts = UnlabelledImages(train, preprocess, trained), UnlabelledImages(test, preprocess, judged)
        return Task(original, *parts, split, UnlabelledImages(test, preprocess, shown) if unseen else None)
    labels = np.array(train.labels)
    labels[trained] = split.training_labels(labels[trained])
    # A class that an earlier request took is no test of this one.
    judged = judged[np.isin(test.labels[judged], train.labels[trained])]
    return Task(
        original,
        LabelledImages(train, labels, preprocess, trained),
        LabelledImages(test, test.labels, preprocess, judged),
        split,
        UnlabelledImages(test, preprocess, shown) if unseen else None,
    )


def _retrainer(source: Run, task: Task, trained: Rows, everything: int) -> Retrainer:
    """Train by the run's own recipe, without the forget set and from another seed; kept in the cache.

    A run with few labels saw only the rows ``trained`` of ``everything``: without the forget set it sees the rest of
    them, not another draw.
    """
    recipe = source.recipe()

    def retrain(seed: int) -> Trained:
        key = f"{fingerprint(task.original)}-{task.train.subset(task.split.retain_rows).fingerprint[:16]}-s{seed}"
        home = cache_dir() / run_files.FORGETTING
        left_out = _left_out(task.split, trained, everything)
        left_out.save(home / f"{key}.npz")
        data = recipe.data.model_copy(update={"without": str(home / f"{key}.npz"), "corrupt": None, "labels": None})
        size = min(recipe.batch_size, len(left_out.retain_rows))
        again = recipe.model_copy(update={"data": data, "seed": recipe.seed + 1000 + seed, "batch_size": size})

        def make(checkpoint: Checkpoint) -> Classifier:
            say(f"retraining without the forget set, seed {seed}")
            folder = home / key / "run"
            if interrupted := Run(folder).exists():
                checkpoint.time_unknown()
            run = pretrain(again, folder, resume=interrupted)
            return load_classifier(run.folder)

        return cached(task.original, home, key, make)

    return retrain


def _export(new: Classifier, model: str | Path, folder: Run) -> None:
    source = Run(model)
    for name in (run_files.RECIPE, run_files.DATA):
        if (source.folder / name).is_file():
            atomic_write_text(folder.folder / name, (source.folder / name).read_text())
    atomic_write_json(folder.folder / run_files.ENVIRONMENT, environment(command_line()))
    before = saved_classifier(source.folder)
    if isinstance(new.head, nn.Linear) and before is not None:
        save_classifier(folder.folder, new.head, before[1])
    backbones.save(new.extractor, folder.backbone)


def _plain(row: Row) -> dict[str, object]:
    """A row as JSON: what could not be measured is ``None``."""
    out = asdict(row)
    out["measures"] = {k: None if v != v else v for k, v in row.measures.items()}
    return {k: None if isinstance(v, float) and v != v else v for k, v in out.items()}


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")[-40:]
