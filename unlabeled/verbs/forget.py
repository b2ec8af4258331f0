"""Make a trained model forget images, prove it, and leave a run like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from unlabeled.backbones import Backbone, lineage_of
from unlabeled.core import run_files
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, atomic_write_text
from unlabeled.core.progress import say
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import AnyForgetter
from unlabeled.forgetting.images import LabelledImages, Preprocess, UnlabelledImages
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.tables import ACCURACY, LEAKAGE, REPRESENTATION, table, verdict
from unlabeled.forgetting.methods import forgetter_class
from unlabeled.forgetting.protocol import Protocol, Row, kind_of
from unlabeled.forgetting.training.stopping import LIMIT
from unlabeled.recipes.load import apply_overrides, explain
from unlabeled.report.forgetting import save_pictures
from unlabeled.report.notebook import html_facts
from unlabeled.runs.ancestry import lineage_facts, not_covered
from unlabeled.runs.copies import copies_of
from unlabeled.runs.deletion import BY_IMAGE, Request, refuse_other_request, request_of
from unlabeled.runs.folder import Run
from unlabeled.runs.models import backbone_folder
from unlabeled.runs.own_loss import own_loss_of
from unlabeled.verbs.forgotten import Leaving
from unlabeled.verbs.retraining import Retraining, load_classifier
from unlabeled.verbs.shadows import ShadowRuns

TIMES = ("seconds", "time_ratio")
RETRAIN = "retrain"
SHADOWS = 16
"""Shadow models where ``memorised:`` asks for them: half of them saw each image."""


@dataclass(frozen=True, repr=False)
class Forgotten:
    """Where the new model is, and what was measured."""

    run: Run
    rows: list[Row]
    verdict: list[str]
    description: str

    def __repr__(self) -> str:
        return f"Forgotten({str(self.run.folder)!r}: {self.description})"

    def _repr_html_(self) -> str:
        return html_facts({"forgotten": self.description, "run": self.run.folder}, self.verdict)


def forget(
    model: str | Path,
    what: str | None = None,
    *,
    paths: Sequence[str | Path] | None = None,
    data: str | None = None,
    data_dir: str | None = None,
    method: str = "laf",
    settings: Sequence[str] = (),
    compare: Sequence[str] = (),
    keep: Sequence[str] = (),
    with_copies: bool = False,
    retrain: bool = True,
    shadows: int = 0,
    seeds: int = 1,
    seed: int = 0,
    tune: int = 1,
    out: str | Path | None = None,
) -> Forgotten:
    """Forget ``what``, measure it beside the original, the retrained and the head-only model, and keep everything.

    Args:
        model: a run folder (with its classifier, if it has one), or a backbone folder. Never changed.
        what: the forget set: ``class:0``, ``random:10%``, ``indices:FILE``, …
        paths: instead of it, the files of the images; the list is kept beside the new run, as ``OUT.txt``.
        data: the data the model was trained on; default: what the run says.
        data_dir: where data sets lie.
        method: which algorithm makes the new model; ``retrain``: the run's own recipe, without the images.
        settings: ``"key=value"`` settings of the algorithm.
        compare: further algorithms, with their default settings, for the table.
        keep: rows of the table whose networks are left as runs, too, each beside ``out`` (``OUT-retrain``).
        with_copies: also forget images that are copies of those named, or nearly (:mod:`unlabeled.runs.copies`); they
            are listed anyway where single images are named (``files:``, ``indices:``).
        retrain: also train again without the forget set (by the run's own recipe), the standard to compare with.
        shadows: also attack image by image, with so many models trained on halves of the data (16 or more are telling);
            ``memorised:`` trains 16 where nothing is said.
        seeds: how many seeds to measure; the model that is kept is the first one's.
        seed: the first of them; also of random forget sets.
        tune: tries of every method over its main settings (:mod:`unlabeled.forgetting.tuning`), all of which count as
            its time; 1: each as it was asked for.
        out: the run folder to write; default: beside the model's.

    Returns:
        The new run, and the rows of the table.

    Raises:
        UserError: no such model, data, method, setting or forget set, or a folder that must not be written to.
    """
    if (what is None) == (paths is None):
        raise UserError("say what to forget: either a forget set such as 'class:0', or paths=[…].")
    if what is None:
        what, out = _listed(list(map(str, paths or ())), model, method, out)
    source = Run(model)
    names = [name for name in dict.fromkeys([method, *compare]) if name != RETRAIN]
    methods = {name: _method(name, settings if name == method else ()) for name in names}
    _check_retraining(source, model, method, settings, keep, [*methods, RETRAIN], retrain)
    start = source.recipe().backbone.weights if source.exists() else None
    lost = start is not None and _lost(start)
    if lost and RETRAIN in (method, *keep):
        raise UserError(f"retrain would start from {start}, as the original did, and that is gone; choose a method.")
    original = load_classifier(model)
    if what.startswith("memorised:"):
        shadows = shadows or SHADOWS
    shadowed = ShadowRuns(source, original, preprocess_of(original), shadows)
    request = request_of(source, what, data, data_dir, seed, shadowed.memorisation)
    request, copies = _with_copies(request, original, take=with_copies)
    split = request.split
    folder = Run(out if out is not None else f"{str(model).rstrip('/')}-without-{_slug(what)}-{method}")
    homes = {name: folder if name == method else Run(f"{folder.folder}-{name}") for name in [method, *keep]}
    for home in homes.values():
        _check_home(home, model, request)
    kind = kind_of(split)
    unseen = tune > 1 or any(m.reads_unseen(original, kind) for m in methods.values())
    task = _task(original, request, unseen=unseen)
    if asking := [name for name, m in methods.items() if m.uses_own_loss(original)]:
        task = replace(task, own=own_loss_of(source, asking[0]))
    if shadows:
        task = replace(task, shadows=shadowed.of(request.train, request.trained))
    say(f"forgetting {split.description}")
    with folder.lock():
        kept = task.train.subset(split.retain_rows).fingerprint
        retraining = Retraining(source, original, request, kept) if retrain and source.exists() and not lost else None
        protocol = Protocol(task, retraining, folder.folder / run_files.FORGETTING, device=chosen(), tune=tune)
        rows = protocol.run(methods, range(seed, seed + seeds))
        lineage = lineage_facts(lineage_of(original.extractor), request)
        beyond = not_covered(lineage, start, source)
        if retrain and lost:
            beyond.append(f"not measured: retrain would start from {start}, as the original did, and that is gone.")
        said = [*verdict(rows), *beyond]
        tables = [table(rows, names) for names in ((*ACCURACY, *TIMES), LEAKAGE, REPRESENTATION)]
        atomic_write_text(
            folder.folder / run_files.TABLE, "\n\n".join([f"# {split.description}", *tables, *said]) + "\n"
        )
        atomic_write_json(folder.folder / run_files.FORGETTING / "rows.json", [_plain(row) for row in rows])
        gone = split.classes if split.removes_classes else ()
        shown = ("original", RETRAIN, "head_only", method)
        first = [asdict(r) for r in rows if r.seed == seed and r.method in shown]
        save_pictures(folder.folder / run_files.FORGETTING / run_files.PICTURES, first, request.train.classes, gone)
        more = {"lineage": lineage, "copies": copies, "not_covered": beyond, "verdict": said}
        leaving = Leaving(source, request, task, rows, more)
        for name, home in homes.items():
            if name == RETRAIN and retraining is not None:
                leaving.retrained(home, retraining, seed)
            else:
                leaving.forgotten(home, methods[name], protocol.forgotten(methods[name], seed).model, seed)
    return Forgotten(folder, rows, said, split.description)


def _listed(paths: list[str], model: str | Path, method: str, out: str | Path | None) -> tuple[str, str | Path]:
    """Write a request's paths beside the run that will have forgotten them: ``files:OUT.txt``, and ``OUT``."""
    if not paths or any("\n" in path or path.strip() != path or path.startswith("#") for path in paths):
        raise UserError("paths=[…] wants the files of images, at least one, each a name that fits a line of text.")
    text = "".join(f"{path}\n" for path in dict.fromkeys(paths))
    if out is None:
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        out = f"{str(model).rstrip('/')}-without-{len(paths)}-images-{digest}-{method}"
    request = Path(f"{out}.txt")
    if request.exists() and request.read_text(encoding="utf-8") != text:
        raise UserError(f"{request} holds another request; choose another out.")
    atomic_write_text(request, text)
    return f"files:{request}", out


def _with_copies(request: Request, original: Classifier, *, take: bool) -> tuple[Request, dict[str, Any] | None]:
    """The request with copies of its images where they are to be taken along, and what the record says of them."""
    if not request.split.spec.startswith(BY_IMAGE):
        if take:
            raise UserError("--with-copies is for requests that name single images: --forget files:… or indices:….")
        return request, None
    found = copies_of(request, Backbone(original.extractor))
    if len(found.rows):
        say("they are forgotten, too" if take else "they are kept: --with-copies takes them along")
    return (request.with_rows(found.rows) if take else request), found.facts(taken=take)


def _method(name: str, settings: Sequence[str]) -> AnyForgetter:
    kind = forgetter_class(name)
    try:
        config = kind.Config.model_validate(apply_overrides({}, settings))
    except ValidationError as error:
        raise explain(error, kind.Config, f"method {name}") from error
    return kind(config)


def _check_retraining(
    source: Run,
    model: str | Path,
    method: str,
    settings: Sequence[str],
    keep: Sequence[str],
    rows: Sequence[str],
    retrain: bool,
) -> None:
    for name in keep:
        if name not in rows:
            raise UserError(f"--keep {name}: the table has no such row; it has {', '.join(rows)} (see --compare).")
    if RETRAIN not in (method, *keep):
        return
    if method == RETRAIN and settings:
        raise UserError(f"retrain follows the run's own recipe and has no settings; leave out {' '.join(settings)}.")
    if not retrain:
        raise UserError("--no-retrain leaves out what is to be kept; choose one of them.")
    if not source.exists():
        raise UserError(f"{model} is not a run, so nothing says how it was trained; retrain needs a recipe.")


def _lost(start: str) -> bool:
    """Whether the weights that a run started from are not there any more: purged, for instance."""
    try:
        backbone_folder(start)
    except UserError:
        return True
    return False


def _check_home(folder: Run, model: str | Path, request: Request) -> None:
    if folder.folder.resolve() == Path(model).resolve():
        raise UserError("--out is the model's own folder; the original is never changed, choose another folder.")
    if folder.foreign() and not folder.forgets():
        raise UserError(f"{folder.folder} is not empty and was not made by forgetting; choose another --out.")
    refuse_other_request(folder, request.split)


def preprocess_of(original: Classifier) -> Preprocess:
    """From pixels to the input of a network, as it says itself."""
    cfg: Mapping[str, Sequence[float]] = original.extractor.pretrained_cfg  # type: ignore[assignment]
    return Preprocess(tuple(cfg["mean"]), tuple(cfg["std"]))


def _task(original: Classifier, request: Request, *, unseen: bool) -> Task:
    preprocess = preprocess_of(original)
    train, test, trained, split = request.train, request.test, request.trained, request.split
    shown, judged = np.arange(0), np.arange(len(test))
    if unseen:  # some of the test images, half of them at most, serve the methods; the others judge
        shown = judged[:: max(2, len(test) // LIMIT)][:LIMIT]
        judged = np.setdiff1d(judged, shown)
    if train.labels is None or test.labels is None:
        parts = UnlabelledImages(train, preprocess, trained), UnlabelledImages(test, preprocess, judged)
        return Task(original, *parts, split, UnlabelledImages(test, preprocess, shown) if unseen else None)
    labels = np.array(train.labels)
    labels[trained] = split.training_labels(labels[trained])
    # A class that an earlier request took is not a test of this one.
    judged = judged[np.isin(test.labels[judged], train.labels[trained])]
    return Task(
        original,
        LabelledImages(train, labels, preprocess, trained),
        LabelledImages(test, test.labels, preprocess, judged),
        split,
        UnlabelledImages(test, preprocess, shown) if unseen else None,
    )


def _plain(row: Row) -> dict[str, object]:
    """A row as JSON: what could not be measured is ``None``."""
    out = asdict(row)
    out["measures"] = {k: None if v != v else v for k, v in row.measures.items()}
    return {k: None if isinstance(v, float) and v != v else v for k, v in out.items()}


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")[-40:]
