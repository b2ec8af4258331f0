"""Read run folders into the plain data of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled import backbones
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.words import command
from unlabeled.engine.metrics import read_metrics
from unlabeled.probes.catalog import title
from unlabeled.probes.scoring import read_confusion
from unlabeled.recipes.resolve import recipe_yaml
from unlabeled.recipes.schema import Recipe
from unlabeled.report import Confusion, Forgetting, Picture, RunContent, looks
from unlabeled.report.tables import FINE_TUNED, counted
from unlabeled.runs.before_after import in_words
from unlabeled.runs.folder import Run

MIMES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".webp": "image/webp"}
LARGEST_PICTURE = 8 << 20
MOST_PICTURES = 24
PICTURES_OF_TRAINING = 3
"""Kept pictures that are shown, evenly spread over training; the last weights are shown on held-out images anyway."""
CONFUSION_FROM = (FINE_TUNED, "linear", "logistic", "lda", "ridge", "knn", "nmc")
"""The probe whose confusions are shown: the first of these that a report has, else the first it has at all."""


def gather(run: Run, name: str, *, data_dir: str | None = None, points: int = 1500, bank: int = 20_000) -> RunContent:
    """Everything a page shows of a run; what cannot be had is left out and said in ``notes``."""
    recipe, rows, notes = run.recipe(), metrics(run), []
    reports = probe_reports(run)
    seen = looks.Looks()
    if not run.finished():
        notes.append(f"The run has not finished; go on with: {command('pretrain', run.folder, '--resume')}")
    else:
        try:
            seen = looks.look(run, recipe, data_dir=data_dir, points=points, bank=bank)
        except UserError as error:
            notes.append(f"Images are not shown: {error}")
    if not reports and run.finished():
        notes.append(f"No probe has been run on it yet: {command('probe', run.folder)}")
    return RunContent(
        name=name,
        method=recipe.method.name,
        facts=_facts(run, recipe, rows),
        metrics=rows,
        probes=reports,
        confusions=[*_confusions(reports), *seen.confusions],
        atlas=seen.atlas,
        projections=seen.projections,
        retrieval=seen.retrieval,
        galleries=[*seen.views, *seen.pictures],
        pictures=_pictures(run.folder / run_files.PICTURES, PICTURES_OF_TRAINING),
        forgetting=_forgetting(run),
        recipe=recipe_yaml(recipe),
        settings=flat(recipe.model_dump(mode="json", exclude={"hardware", "output"})),
        environment=run.read_json(run_files.ENVIRONMENT),
        notes=[*notes, *seen.notes],
    )


def probe_reports(run: Run) -> list[dict[str, Any]]:
    """The probe reports of a run, that on its own data first; broken files are left out.

    The accuracy of its own classifier is the first of them, under the name :data:`FINE_TUNED`.
    """
    found, tuned = [], run.read_json(run_files.FINETUNE)
    if "top1" in tuned:
        about = {
            "model": str(run.folder),
            "data": tuned.get("data"),
            "classes": run.read_json(run_files.DATA).get("classes"),
        }
        found.append({**about, "probes": {FINE_TUNED: tuned}})
    for path in sorted((run.folder / run_files.PROBES).glob("*.json")):
        content = run.read_json(f"{run_files.PROBES}/{path.name}")
        if isinstance(content.get("probes"), dict):
            found.append(content)
    own = run.recipe().data.name
    return sorted(found, key=lambda content: content.get("data") != own)


def made_by(run: Run, recipe: Recipe) -> str:
    """The method that a run was trained with, and what made it forget since."""
    own, forgetter = recipe.method.name, _part(run.read_json(run_files.RECORD), "method").get("name")
    if not run.forgets():
        return own
    if forgetter == "retrain":
        return f"{own}, anew without what was to be forgotten"
    return f"{own}, then {forgetter or 'forgetting'}"


def asked_to_forget(run: Run) -> str | None:
    """What a run that is the result of forgetting does not hold any more, in words."""
    request = _part(run.read_json(run_files.RECORD), "request")
    return str(request.get("description") or request.get("spec") or "unknown") if run.forgets() else None


def _part(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    return part if isinstance(part := record.get(key), dict) else {}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, part in value.items() for k, v in flat(part, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{path}.{i}").items()}
    return {path: value}


def metrics(run: Run) -> list[dict[str, float]]:
    """The rows of ``metrics.csv`` as numbers; what is none becomes NaN."""
    path = run.folder / run_files.METRICS
    rows = read_metrics(path) if path.is_file() else []
    return [{key: _number(text) for key, text in row.items()} for row in rows]


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def _facts(run: Run, recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> dict[str, str]:
    data, environment = run.read_json(run_files.DATA), run.read_json(run_files.ENVIRONMENT)
    shape = "×".join(map(str, data.get("shape") or []))
    images = f", {data['images']:,} images {shape}" if isinstance(data.get("images"), int) else ""
    arguments = ", ".join(f"{k}={v}" for k, v in recipe.backbone.args.items())
    facts = {
        "method": made_by(run, recipe),
        **({"forgot": forgot} if (forgot := asked_to_forget(run)) else {}),
        "backbone": recipe.backbone.name + (f" ({arguments})" if arguments else ""),
        **({"started from": recipe.backbone.weights} if recipe.backbone.weights else {}),
        "data": f"{recipe.data.name}{images}",
        "training": f"{counted(recipe.epochs, 'epoch')}, batch {recipe.batch_size}",
        "optimiser": f"{recipe.optimizer.name}, lr {recipe.optimizer.lr:g}, {recipe.optimizer.schedule}",
        "seed": str(recipe.seed),
    }
    if "difference" in (helped := run.read_json(run_files.BEFORE_AFTER)):
        facts["going on"] = in_words(helped)
    if run.finished():
        config = backbones.load_config(run.backbone)
        facts["embedding"] = f"{config.get('num_features', '?')} dimensions"
    speeds = [row["images_per_second"] for row in rows if math.isfinite(row.get("images_per_second", math.nan))]
    if speeds:
        facts["speed"] = f"{np.median(speeds):,.0f} images a second"
    hardware = environment.get("accelerators") or [environment.get("processor")]
    if isinstance(hardware, list) and any(hardware):
        facts["hardware"] = ", ".join(str(part) for part in hardware if part)
    for key in ("started", "command"):
        if environment.get(key):
            facts[key] = str(environment[key])
    return facts


def _confusions(reports: Sequence[Mapping[str, Any]]) -> list[Confusion]:
    for content in reports[:1]:
        for probe in dict.fromkeys((*CONFUSION_FROM, *content["probes"])):
            found, classes = content["probes"].get(probe), content.get("classes")
            if not isinstance(found, dict) or not isinstance(classes, list):
                continue
            counts = read_confusion(found.get("confusion"), len(classes))
            if counts is not None:
                read_by = f"{title(probe)} {'classifier' if probe == FINE_TUNED else 'probe'}"
                return [Confusion(f"{read_by} on {content.get('data', '?')}", classes, counts)]
    return []


def _pictures(folder: Path, most: int = MOST_PICTURES) -> list[Picture]:
    files = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in MIMES and p.stat().st_size <= LARGEST_PICTURE]
    spread = sorted({round(i) for i in np.linspace(0, len(files) - 1, min(most, len(files)))})
    return [
        Picture(p.stem.replace("_", " ").replace("-", " "), p.read_bytes(), MIMES[p.suffix.lower()])
        for p in (files[i] for i in spread)
    ]


def _forgetting(run: Run) -> list[Forgetting]:
    """The record of a run that is the result of forgetting, and any kept below ``forgetting/``."""
    found = []
    for path in [run.folder / run_files.RECORD, *sorted((run.folder / run_files.FORGETTING).glob("*/record.json"))]:
        record = run.read_json(str(path.relative_to(run.folder)))
        if record:
            found.append(_record(record, path.parent))
    return found


def _record(record: Mapping[str, Any], folder: Path) -> Forgetting:
    request, method = _part(record, "request"), _part(record, "method")
    settings = _part(method, "settings")
    seconds = method.get("seconds")
    facts = {
        "request": request.get("description") or request.get("spec"),
        "images": _images(record.get("images")),
        "method": method.get("name"),
        "settings": ", ".join(f"{k}={v}" for k, v in settings.items()) or None,
        "labels read": {"True": "yes", "False": "no"}.get(str(method.get("read_labels"))),
        "seconds": f"{seconds:,.1f}" if isinstance(seconds, int | float) else None,
        "written": record.get("written"),
    }
    measures = {}
    for model, values in (record.get("measures") or {}).items():
        if isinstance(values, dict):
            measures[str(model)] = {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)}
    return Forgetting(
        title=str(request.get("description") or request.get("spec") or "a deletion request"),
        facts={key: str(value) for key, value in facts.items() if value is not None},
        measures=measures,
        notes=_verdict(folder / run_files.TABLE),
        pictures=[
            picture
            for place in (".", run_files.PICTURES, f"{run_files.FORGETTING}/{run_files.PICTURES}")
            for picture in _pictures(folder / place)
        ],
    )


def _images(held: object) -> str | None:
    """How a record says which images were forgotten."""
    if isinstance(held, list):
        return f"{len(held):,}, each named by a hash of its pixels"
    return f"{held['count']}, named by one hash of all of them" if isinstance(held, dict) and "count" in held else None


def _verdict(path: Path) -> list[str]:
    """The sentences under the tables."""
    if not path.is_file():
        return []
    return [
        line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line and line[0] not in "|#"
    ]
