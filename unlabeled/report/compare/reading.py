"""Read runs on the same images: which are chosen, what may be seen of them, and what each network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet
from unlabeled.forgetting.judge import attacks
from unlabeled.probes.arrays import Rows
from unlabeled.probes.knn import KNNProbe
from unlabeled.report.compare.content import Array, Reading, Shown
from unlabeled.report.looks import batches
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.models import load_backbone
from unlabeled.runs.together import Opened, Together, together, without_requests

SHOWN, FITTED = 240, 600
"""Images of a group that are shown, and of either side that the attacker learns from; the two share none."""
NEIGHBOURS = 20


@dataclass(frozen=True)
class Draw:
    """Which rows are read: ``retain`` and ``forget`` of the training split, ``unseen`` of the test split; and those of
    either split that attackers and neighbours learn from.
    """

    forget: Rows
    retain: Rows
    unseen: Rows
    known: Rows
    others: Rows


def draw(found: Together, labels: Array | None, test_labels: Array | None) -> Draw:
    """Choose images: a fixed draw, the same for every run on the same rows.

    Where labels are known, the unseen images that are shown have the classes of those to be forgotten, in their shares,
    and the attacker learns from equally many known and other images of each class: no class passes for membership.
    """
    forget = _some(found.forget, SHOWN, "forget")
    retain = _some(found.retain, min(SHOWN, len(found.retain) // 2), "retain")
    pool = _some(found.unseen, len(found.unseen) // 2, "unseen")
    known = _some(np.setdiff1d(found.retain, retain), FITTED, "known")
    others = _some(np.setdiff1d(found.unseen, pool), FITTED, "others")
    judged = forget if len(forget) else retain
    if labels is not None and test_labels is not None and len(known) and len(judged):
        left, right = attacks.matched(labels[known], test_labels[others])
        known, others = known[left], others[right]
        pool = pool[attacks.matched(labels[judged], test_labels[pool])[1]]
    return Draw(forget, retain, _some(pool, SHOWN, "shown"), known, others)


def _some(rows: Rows, count: int, purpose: str) -> Rows:
    order = rng.numpy_generator("compare", purpose, 0).permutation(len(rows))[:count]
    return np.sort(rows[order]).astype(np.int64)


def read(
    runs: Sequence[Opened], names: Sequence[str], *, live: bool, others: Sequence[Opened] = ()
) -> tuple[Shown, list[Reading]]:
    """Read runs on images that they share. Nothing is written, and nothing of the images is kept in the cache.

    Args:
        runs: at least two, on the same data.
        names: theirs.
        live: whether the page is read by whoever has the data now. Only then are images that were to be forgotten
            visible, and of those only the ones that one of the runs still holds; a page that is a file never has them.
        others: further runs on the same page: what they were asked to forget is not read as retained, either.

    Raises:
        UserError: the runs were trained on different data, share no images, or one cannot be opened.
    """
    found, first = without_requests(together(runs), others), runs[0]
    labels, test_labels = first.train.labels, None if first.test is None else first.test.labels
    rows = draw(found, labels, test_labels)
    said = [*filter(None, (run.said for run in runs)), *_said(found, rows, live=live)]
    shown = _shown(first, found, rows, said, live=live)
    if not len(shown.group):
        raise UserError(f"{names[0]} and {names[1]} share no images that both were trained on.")
    return shown, [_read(run, name, rows) for run, name in zip(runs, names, strict=True)]


def _shown(first: Opened, found: Together, rows: Draw, said: Sequence[str], *, live: bool) -> Shown:
    train, test = first.train, first.test
    held = np.isin(rows.forget, found.forget[found.held]) & live
    visible = np.concatenate([held, np.ones(len(rows.retain) + len(rows.unseen), bool)])
    parts = [(train, rows.forget), (train, rows.retain)] + ([] if test is None else [(test, rows.unseen)])
    images = np.zeros((len(visible), *train.shape), np.uint8)
    names: list[str] = []
    group: list[str] = []
    labels = []
    for kind, (data, own) in zip(("forget", "retain", "unseen"), parts, strict=False):
        start = len(group)
        seen = np.flatnonzero(visible[start : start + len(own)])
        images[start + seen] = data.gather(own[seen]).numpy()
        allowed = set(seen.tolist())
        names += [_name(data, int(row)) if i in allowed else "" for i, row in enumerate(own)]
        group += [kind] * len(own)
        labels.append(None if data.labels is None else data.labels[own])
    known = [part for part in labels if part is not None]
    every = np.concatenate(known) if known and len(known) == len(labels) else None
    return Shown(group, images, visible, names, every, train.classes, said)


def _name(data: ImageSet, row: int) -> str:
    return data.paths[row] if data.paths else f"{data.split} image {row}"


def _said(found: Together, rows: Draw, *, live: bool) -> list[str]:
    said = []
    hidden = len(rows.forget) if not live else int((~np.isin(rows.forget, found.forget[found.held])).sum())
    if hidden:
        why = "neither run holds them any more" if live else "a page that is kept does not show them"
        said.append(f"{hidden} images to be forgotten are points without picture and name: {why}.")
    if not len(found.forget):
        said.append("No request is open in these runs (none was made, or it was purged): nothing is read for it.")
    if min(len(rows.known), len(rows.others)) < attacks.LEAST_IMAGES:
        said.append("There are too few images that no run has met to learn an attack from.")
    return said


@torch.inference_mode()
def _read(run: Opened, name: str, rows: Draw) -> Reading:
    backbone = load_backbone(run.run.folder).to(chosen())
    head = load_classifier(run.run.folder)
    train, test = run.train, run.test
    sets = [train.subset(np.concatenate([rows.forget, rows.retain, rows.known]))]
    if test is not None:
        sets.append(test.subset(np.concatenate([rows.unseen, rows.others])))
    embeddings, stages = [], []
    for images in sets:
        for batch in batches(images, backbone):
            embeddings.append(backbone(batch).float().cpu())
            stages.append({key: value.float().cpu() for key, value in backbone.stages(batch).items()})
    whole = torch.cat(embeddings)
    # shown: forget, retain | unseen; attacked with: known | others
    first, second, third = len(rows.forget) + len(rows.retain), len(rows.known), len(rows.unseen)
    place = np.arange(len(whole))
    at_shown = np.concatenate([place[:first], place[first + second : first + second + third]])
    at_known, at_others = place[first : first + second], place[first + second + third :]
    layers = {key: torch.cat([part[key] for part in stages])[at_shown].numpy() for key in stages[0]}
    features: dict[str, Array] = {"embeddings": whole.numpy()}
    answers, answered_by = None, ""
    truth = _labels(run, rows)
    if head is not None:
        logits = head[0](whole)
        answers, answered_by = logits.argmax(1).numpy()[at_shown], "its classifier"
        fits = truth is not None and int(truth.max()) < logits.shape[1]
        features["outputs"] = attacks.output_features(logits, truth if fits else None)
    elif train.labels is not None and len(at_known) >= NEIGHBOURS:
        probe = KNNProbe(k=NEIGHBOURS, temperature=0.07).fit(whole[at_known], train.labels[rows.known])
        answers = np.asarray(probe.predict(whole[at_shown]), np.int64)
        answered_by = f"its {NEIGHBOURS} nearest neighbours among {len(at_known):,} images it was trained on"
    enough = min(len(at_known), len(at_others)) >= attacks.LEAST_IMAGES
    scores = {
        attack: attacks.member_scores(x[at_known], x[at_others], x[at_shown])
        for attack, x in features.items()
        if enough
    }
    return Reading(
        name, whole[at_shown].numpy(), {**layers, "embedding": whole[at_shown].numpy()}, answers, answered_by, scores
    )


def _labels(run: Opened, rows: Draw) -> Tensor | None:
    """Labels in the order in which images are read; ``None`` where some have none."""
    if run.train.labels is None or run.run.recipe().data.corrupt is not None:  # wrong ones would give images away
        return None
    parts = [run.train.labels[np.concatenate([rows.forget, rows.retain, rows.known])]]
    if run.test is not None:
        if run.test.labels is None:
            return None
        parts.append(run.test.labels[np.concatenate([rows.unseen, rows.others])])
    return torch.from_numpy(np.concatenate(parts))
