"""Probe models on a data set: one bank per model, every probe from the bank, one report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from unlabeled.backbones import Backbone, calibrate_batchnorm
from unlabeled.core import dist, run_files
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write, atomic_write_json, expect_file
from unlabeled.core.model_input import normalised, sized
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.probes.catalog import SUITE
from unlabeled.probes.suite import run_probes
from unlabeled.recipes.schema import DataConfig
from unlabeled.report import probe_chart
from unlabeled.report.notebook import html_probes
from unlabeled.runs.banks import bank_of
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of, splits_to_probe
from unlabeled.runs.models import Pixels, check_model, features_of, input_size, open_model, unlearned
from unlabeled.verbs.protocols import Protocols

DEFAULT_PROBES = ("linear", "knn", "nmc")
CALIBRATION_IMAGES = 2048
NO_PROTOCOLS = Protocols()
SCHEMA = "unlabeled.probe/1"
"""Of the file that ``--json`` writes; docs/probes.md describes it."""


class Measured(dict[str, Any]):
    """The report of a model: plain data (docs/probes.md) that shows itself."""

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {100 * found['top1']:.1f} %" for name, found in self["probes"].items())
        return f"Measured({self['model']!r} on {self['data']!r}: {figures})"

    def _repr_html_(self) -> str:
        return html_probes([self])


class Compared(list[Measured]):
    """The reports of several models, as one table."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        return html_probes(self)


# fmt: off
@overload
def probe(
    model: str | Path, data: str | None = ..., *, data_dir: str | None = ...,
    probes: Sequence[str] = ..., layer: str | None = ..., pool: str | None = ..., calibrate: bool = ...,
    protocols: Protocols = ..., seed: int = ..., like: str | None = ...,
) -> Measured: ...
@overload
def probe(
    model: list[Any] | tuple[Any, ...], data: str | None = ..., *, data_dir: str | None = ...,
    probes: Sequence[str] = ..., layer: str | None = ..., pool: str | None = ..., calibrate: bool = ...,
    protocols: Protocols = ..., seed: int = ..., like: str | None = ...,
) -> Compared: ...
# fmt: on
def probe(
    model: str | Path | list[Any] | tuple[Any, ...],
    data: str | None = None,
    *,
    data_dir: str | None = None,
    probes: Sequence[str] = DEFAULT_PROBES,
    layer: str | None = None,
    pool: str | None = None,
    calibrate: bool = False,
    protocols: Protocols = NO_PROTOCOLS,
    seed: int = 0,
    like: str | None = None,
) -> Measured | Compared:
    """Measure what a frozen model, or each of several, knows of a labelled data set.

    Everything that is chosen (learning rate, k, …) is chosen on the training split; the test split is read once.

    Args:
        model: a run folder, ``local-dir:PATH``, ``hf-hub:ID``, ``timm:NAME``, ``random:NAME`` or ``pixels``; or a list
            of these.
        data: a data set; default: what the run was trained on, else ``fashion-mini``.
        data_dir: where data sets lie.
        probes: names from ``unlabeled.probes.catalog.SUITE``.
        layer: an inner stage of the backbone; default: what the run's recipe says (``features``), else the embedding.
        pool: how its map becomes a vector.
        calibrate: give BatchNorm the statistics of the data first (fair to a random initialisation).
        protocols: few labels, classes in steps, episodes.
        seed: of the splits, and of a random initialisation.
        like: a run whose data a model is probed on that has none of its own (``pixels``, ``random:NAME``, …).

    Returns:
        A report a model, which JSON can hold: ``model``, ``data``, ``probes`` (accuracy, interval, what was chosen),
        and what ``protocols`` asked for: ``few_labels``, ``incremental``, ``episodes`` (docs/probes.md).

    Raises:
        UserError: there is no such model or data, it has no labels, or a probe is unknown.
    """
    if not probes:
        raise UserError(f"name at least one probe of {', '.join(SUITE)}.")
    for wanted in probes:
        if wanted not in SUITE:
            raise UserError(f"there is no probe '{wanted}'.{nearest(wanted, SUITE)}")
    if isinstance(model, list | tuple):
        _check_models(model)
        like = like or next((str(one) for one in model if Run(one).exists()), None)
        same: dict[str, Any] = {"data_dir": data_dir, "probes": probes, "layer": layer, "pool": pool, "seed": seed}
        same |= {"calibrate": calibrate, "protocols": protocols, "like": like}
        return Compared(probe(one, data, **same) for one in model)
    if layer is None and pool is None:
        features = features_of(model)
        layer, pool = features.layer, features.pool
    train, test = open_splits(str(model), data, data_dir, like)
    loaded = open_model(str(model), train, layer=layer, pool=pool, seed=seed)
    name = "BatchNorm-calibrated " + str(model) if calibrate else str(model)
    if layer is not None or pool is not None:
        name += f" ({', '.join(filter(None, (layer, pool)))})"
    return probe_model(
        loaded, train, test, name=name, probes=probes, calibrate=calibrate, protocols=protocols, seed=seed
    )


def probe_model(
    model: Backbone | Pixels,
    train: ImageSet,
    test: ImageSet,
    *,
    name: str,
    probes: Sequence[str] = DEFAULT_PROBES,
    calibrate: bool = False,
    protocols: Protocols = NO_PROTOCOLS,
    seed: int = 0,
) -> Measured:
    """As :func:`probe`, for a model and data sets that are already open."""
    protocols.check(train.require_labels("probing"), test.require_labels("probing"), seed)
    say(f"probing {name} on {train.name}")
    if calibrate:
        rows = np.linspace(0, len(train) - 1, min(CALIBRATION_IMAGES, len(train))).astype(np.int64)
        batches = torch.split(normalised(sized(train.gather(rows), model.image_size), model.mean, model.std), 256)
        model = _calibrated(model, list(batches))
    train_bank, test_bank = (bank_of(model, images) for images in (train, test))
    report = run_probes(train_bank, test_bank, probes=list(probes), seed=seed, device=str(chosen()))
    more = protocols.run(train_bank, test_bank, tuple(probes), seed, str(chosen()))
    return Measured(model=name, data=train.name, dimension=train_bank.dim, **report.asdict(), **more)


def _check_models(models: Sequence[str | Path]) -> None:
    """See that all models are there before the first is measured."""
    if not models:
        raise UserError("name at least one model to probe: a run folder, timm:NAME, random:NAME, a path or pixels.")
    for model in models:
        check_model(str(model))


def _calibrated(model: Backbone | Pixels, batches: list[torch.Tensor]) -> Backbone | Pixels:
    calibrated = calibrate_batchnorm(model, batches)
    assert isinstance(calibrated, Backbone | Pixels)
    return calibrated


def open_splits(
    model: str, data: str | None = None, data_dir: str | None = None, like: str | None = None
) -> tuple[ImageSet, ImageSet]:
    """The labelled training and test images that a model is probed on, as large as its network takes them."""
    run = Run(model)
    # what has no data or size of its own takes those of the run it is compared with
    source = run if run.exists() or like is None else Run(like)
    config = data_of(source, data if source.exists() or data else DataConfig().name, data_dir)
    known = model if not unlearned(model) else source.folder if source.finished() else None
    if known is not None:  # decoded to what the network takes, as embed does, not resized once more
        channels, size, _ = input_size(known)
        config = config.model_copy(update={"channels": channels, "size": size})
    return splits_to_probe(config, rule_of(source, config))


def probe_all(models: Sequence[str], *, json_file: Path | None = None, **settings: Any) -> list[dict[str, Any]]:
    """The reports of :func:`probe_each`, all of them."""
    return list(probe_each(models, json_file=json_file, **settings))


def probe_each(models: Sequence[str], *, json_file: Path | None = None, **settings: Any) -> Iterator[dict[str, Any]]:
    """Probe several models, one after the other; what is finished is kept whatever happens to the next.

    A run keeps its own report in ``probes/``, all go to ``json_file`` if given.
    Processes that were started together (torchrun) share out the extraction and the neighbours; rank 0 writes.
    The file holds ``{schema, reports: [report of a model]}`` and gets a picture beside it (docs/probes.md).
    A teacher (or student) that a run kept beside its backbone follows it, for which of them is better is the question.
    """
    _check_models(models)
    if json_file is not None:
        expect_file(json_file, "probes.json")
    with dist.joined():
        like = next((model for model in models if Run(model).exists()), None)
        reports = list[dict[str, Any]]()
        for model in models:
            run, own = Run(model), [probe(model, like=like, **settings)]
            own += [probe(folder, like=model, **settings) for folder in run.also_kept() if run.exists()]
            if run.exists() and dist.rank() == 0:
                kept = {**own[0], "compared_with": own[1:]} if own[1:] else own[0]
                keep_report(run, kept, settings.get("layer"), settings.get("pool"), settings.get("calibrate", False))
            reports += own
            if dist.rank() == 0 and json_file is not None:
                atomic_write_json(json_file, {"schema": SCHEMA, "reports": reports})
                _draw(json_file, reports)
            yield from own


def keep_report(
    run: Run, report: dict[str, Any], layer: str | None = None, pool: str | None = None, calibrated: bool = False
) -> Path:
    """Write a report, and a picture of it, into the run's ``probes/`` folder; what was measured before stays in it."""
    parts = (str(report["data"]), layer, pool, "calibrated" if calibrated else None)
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join(filter(None, parts))).strip("-.")
    path = run.folder / run_files.PROBES / f"{safe}.json"
    run.refuse_links()
    report = _joined(run.read_json(f"{run_files.PROBES}/{path.name}"), report)
    atomic_write_json(path, report)
    _draw(path, [report])
    return path


def _joined(before: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """``report``, with what an earlier one of the very same features and seed measured beyond it."""
    same = all(before.get(key) == report.get(key) for key in ("schema", "train", "test", "seed"))
    if not same or not isinstance(before.get("probes"), dict):
        return report
    out = {**before, **report, "probes": {**before["probes"], **report["probes"]}}
    earlier, later = before.get("compared_with"), report.get("compared_with")
    if isinstance(earlier, list) and isinstance(later, list) and len(earlier) == len(later):
        out["compared_with"] = [_joined(*pair) for pair in zip(earlier, later, strict=True)]
    return out


def _draw(json_file: Path, reports: Sequence[dict[str, Any]]) -> None:
    bars = []
    for report in reports:
        bars.append(report)
        bars += [
            {**report, "model": f"{report['model']}, {few['labels']} labels", "probes": few["probes"]}
            for few in report.get("few_labels", ())
        ]
    picture = probe_chart(bars)
    atomic_write(json_file.with_suffix(".png"), lambda handle: handle.write(picture))
