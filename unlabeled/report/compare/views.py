"""The views of a pair: each a function of the images and of two readings, empty where there is nothing to show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from unlabeled.evaluation.layers import layerwise_cka
from unlabeled.probes.similarity import LEAST_IMAGES
from unlabeled.report.blocks import legend_of
from unlabeled.report.charts import scatter
from unlabeled.report.compare.attack import attack_view, privacy_table
from unlabeled.report.compare.content import GROUPS, Array, Reading, Shown
from unlabeled.report.content import Atlas, Confusion, Projection
from unlabeled.report.forgetting import plane
from unlabeled.report.heat import heat_map
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.pixels import data_uri, sprite
from unlabeled.report.sections import class_buttons, confusion
from unlabeled.report.tables import counted

MOST_LAYERS = 12
"""Stages of a network that the heat map shows, evenly spread from input to output."""
MOST_PICKS = 24


def pair_view(shown: Shown, first: Reading, second: Reading, key: str, thumbs: str | None = None) -> Markup:
    """Everything about a pair.

    Args:
        key: a name for its images that no other pair on the page has.
        thumbs: the address below which a server has the pictures, as ``NUMBER.png``; default: they are in the page.
    """
    parts = {
        "Worst-case privacy score": privacy_table(shown, first, second),
        "Attack": attack_view(shown, first, second),
        "Answers": matrices(shown, first, second),
        "Likeness of layers": layers(shown, first, second),
        "Images": embeddings(shown, first, second, key, thumbs),
    }
    counts = ", ".join(f"{count} {words}" for group, words in GROUPS.items() if (count := len(shown.rows(group))))
    lead = tag("p", f"Both are read on the same images: {counts}.", class_="hint")
    said = [tag("p", sentence, class_="hint note") for sentence in shown.said]
    names = legend_of([first.name, second.name])
    body = [[tag("h3", title), part] for title, part in parts.items() if part]
    return tag("div", names, lead, said, body, class_="pair")


def matrices(shown: Shown, first: Reading, second: Reading) -> Markup:
    """What each run answers to each class, and what one answers where the other answers something: counts of images."""
    if first.answers is None or second.answers is None:
        return Markup("")
    count = 1 + max(int(a.max()) for a in (first.answers, second.answers, shown.labels) if a is not None)
    names = [shown.class_name(c) for c in range(count)]
    blocks = []
    for group in GROUPS:
        rows = shown.rows(group)
        if not len(rows) or (group == "retain" and shown.members == "forget"):
            continue
        between = (f"{first.name} (rows) and {second.name}", first.answers, second.answers)
        pairs = [] if shown.labels is None else [(r.name, shown.labels, r.answers) for r in (first, second)]
        found = [
            confusion(Confusion(title, names, counts(left[rows], right[rows], count)))
            for title, left, right in [*pairs, between]
            if right is not None
        ]
        said = f"{counted(len(rows), 'image')} {GROUPS[group]}"
        blocks.append(tag("div", tag("p", said, class_="hint"), tag("div", found, class_="thirds")))
    by = dict.fromkeys(f"{r.name}: {r.answered_by}" for r in (first, second))
    hint = f"Rows: what the image is; columns: what was answered, in percent of the row. {'. '.join(by)}."
    return join([tag("p", hint, class_="hint"), blocks])


def counts(left: Array, right: Array, count: int) -> Array:
    """``(K, K)`` numbers of images by a left and a right class."""
    return np.bincount(left * count + right, minlength=count * count).reshape(count, count)


def layers(shown: Shown, first: Reading, second: Reading) -> Markup:
    """Likeness of every stage of one network to every stage of the other."""
    maps = []
    for group in ("forget", "retain"):
        rows = shown.rows(group)
        if len(rows) < LEAST_IMAGES:
            continue
        names, values = cka(first, second, rows)
        maps.append(
            tag("figure", tag("figcaption", f"{len(rows)} images {GROUPS[group]}"), heat_map(*names, values.tolist()))
        )
    if not maps:
        return Markup("")
    hint = (
        "Unbiased linear CKA (1: the same up to rotation and scale; 0: nothing in common) of the stages of "
        f"{first.name} (rows) and {second.name} (columns), from input to output. Along the diagonal: which stages were "
        "changed."
    )
    return join([tag("p", hint, class_="hint"), tag("div", maps, class_="columns")])


def cka(first: Reading, second: Reading, rows: Array) -> tuple[tuple[list[str], list[str]], Array]:
    """The names of the stages of both, and their :func:`layerwise_cka` on some images, ``(L, M)``."""
    chosen = [_spread(list(reading.layers)) for reading in (first, second)]
    left, right = (
        {name: torch.from_numpy(reading.layers[name][rows]) for name in names}
        for reading, names in zip((first, second), chosen, strict=True)
    )
    return (chosen[0], chosen[1]), layerwise_cka(left, right).numpy()


def _spread(names: list[str]) -> list[str]:
    places = np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_LAYERS)).round().astype(int))
    return [names[place] for place in places]


def embeddings(shown: Shown, first: Reading, second: Reading, key: str, thumbs: str | None) -> Markup:
    """Both spaces side by side, points that show their image, and what the runs say of the one that is clicked."""
    known = np.concatenate([shown.rows("retain"), shown.rows("unseen")])
    gone = shown.rows("forget")
    labels = None if shown.labels is None else [shown.class_name(int(label)) for label in shown.labels]
    atlas = Atlas(shown.images, shown.names, shown.labels, shown.classes)
    kinds = [f"{group}{'' if seen else ' bare'}" for group, seen in zip(shown.group, shown.visible, strict=True)]
    maps = []
    for reading in (first, second):
        points = np.empty((len(shown.group), 2), np.float32)
        points[known], points[gone] = plane(reading.embedding[known], reading.embedding[gone])
        drawn = scatter(Projection("", points), atlas, kinds=kinds)
        maps.append(tag("figure", tag("figcaption", f"{reading.name}, its first two principal components"), drawn))
    tips = [
        "\n".join(part for part in (labels[i] if labels else "", name or "an image that is not shown") if part)
        for i, name in enumerate(shown.names)
    ]
    styles, columns, side = _pictures(shown, key, thumbs)
    data = [
        tag("template", json.dumps(tips, ensure_ascii=False), class_="names"),
        tag("template", json.dumps(list(_cards(shown, first, second, labels)), ensure_ascii=False), class_="cards"),
    ]
    present = dict.fromkeys(shown.group)
    marks = [tag("span", tag("i", class_=f"mark {g}"), words) for g, words in GROUPS.items() if g in present]
    body = (class_buttons(atlas), maps, data, _picks(shown, first, second), tag("div", class_="card", hidden=True))
    own = {"data_atlas": key, "data_columns": columns, "data_side": side, "data_thumbs": thumbs}
    hint = "Click a point or a picture: it is marked on both sides."
    return join(
        [
            styles,
            tag("p", hint, class_="hint"),
            tag("p", marks, class_="legend"),
            tag("div", *body, class_="maps picked", **own),
        ]
    )


def _pictures(shown: Shown, key: str, thumbs: str | None) -> tuple[Markup | None, int | None, int | None]:
    """The images as one picture in the page, unless a server has them."""
    if thumbs is not None:
        return None, None, None
    sheet, columns, side = sprite(shown.images)
    return tag("style", Markup(f'.{key}{{background-image:url("{data_uri(sheet)}")}}')), columns, side


def _cards(shown: Shown, first: Reading, second: Reading, labels: Sequence[str] | None) -> Iterator[list[list[str]]]:
    """What is said of each image: lines of a name and the values in both runs."""
    for i, group in enumerate(shown.group):
        lines = [["", first.name, second.name]]
        if first.answers is not None and second.answers is not None:
            lines.append(["answer", *(shown.class_name(int(a[i])) for a in (first.answers, second.answers))])
        for attack in first.scores:
            if attack in second.scores:
                both = (first.scores[attack][i], second.scores[attack][i])
                lines.append([f"P(member) by {attack}", *(f"{score:.2f}" for score in both)])
        yield [[shown.names[i] or "an image that is not shown", labels[i] if labels else "", GROUPS[group]], *lines]


def _picks(shown: Shown, first: Reading, second: Reading) -> Markup | None:
    """The images whose score changed most, as buttons."""
    attack = next((name for name in ("outputs", "embeddings") if name in first.scores and name in second.scores), None)
    if attack is None:
        return None
    before, after = first.scores[attack], second.scores[attack]
    rows = shown.rows(shown.members)
    rows = rows[np.argsort(-np.abs(after[rows] - before[rows]), kind="stable")][:MOST_PICKS]
    buttons = [
        tag(
            "button", tag("i"), f"{before[i]:.2f} → {after[i]:.2f}",
            type="button", data_i=int(i), class_="bare" if not shown.visible[i] else None,
        )
        for i in rows
    ]  # fmt: skip
    caption = (
        f"P(member) by {attack}, {first.name} → {second.name}: the images {GROUPS[shown.members]} whose score changed "
        "most, the largest change first."
    )
    return tag("figure", tag("figcaption", caption), tag("div", buttons, class_="picks"), class_="whole")
