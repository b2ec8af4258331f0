"""The sections of the page: each a function of the runs' content, empty where there is nothing to show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unlabeled.forgetting.judge.words import MODELS, in_words, is_share
from unlabeled.report.blocks import facts, figure, legend, side_by_side, sortable, stacked
from unlabeled.report.charts import Line, class_colour, line_chart, number, scatter
from unlabeled.report.content import Atlas, Cell, Confusion, Forgetting, Gallery, Picture, RunContent
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.pixels import data_uri, png, sprite, to_picture
from unlabeled.report.tables import FINE_TUNED, ProbeRow, percent, probe_rows
from unlabeled.ssl.methods import METHODS

CURVES = {
    "loss": "training loss",
    "knn_train_split": "kNN accuracy on training images (leave one out)",
    "teacher_knn_train_split": "the same of its teacher",
    "accuracy": "accuracy on the pretext task",
    "rankme": "RankMe: directions in use",
    "embedding_std": "spread of embeddings (1 healthy, 0 collapsed)",
    "prototypes_used": "prototypes in use (share)",
    "code_entropy": "entropy of a code (nats)",
    "lr": "learning rate",
    "grad_norm": "norm of the gradients (mean)",
    "grad_norm_max": "norm of the gradients (largest)",
    "images_per_second": "images a second",
}
LARGEST_MATRIX = 30
"""Classes up to which a confusion matrix is drawn whole."""
SMALL = 96
"""Side in pixels to which small images are reduced."""


def curves(runs: Sequence[RunContent]) -> Markup:
    """A small chart for every number that was logged, all runs in each."""
    found = dict.fromkeys(key for run in runs for row in run.metrics for key in row if key not in ("step", "epoch"))
    names = [*(name for name in CURVES if name in found), *(name for name in found if name not in CURVES)]
    charts = []
    for name in names:
        lines = []
        for position, run in enumerate(runs):
            rows = [row for row in run.metrics if name in row]
            if rows:
                x = [row.get("epoch", row.get("step", float(i))) for i, row in enumerate(rows)]
                lines.append(Line(run.name, position, x, [row[name] for row in rows]))
        chart = line_chart(lines)
        if chart:
            charts.append(tag("figure", tag("figcaption", _curve(name, runs)), chart))
    if not charts:
        return Markup("")
    return join([legend(runs), tag("div", charts, class_="charts")])


def _curve(name: str, runs: Sequence[RunContent]) -> str:
    """The title of a curve; what a method classifies is the images' classes where it learns from labels."""
    logged = [METHODS.get(run.method) for run in runs if any(name in row for row in run.metrics)]
    if name == "accuracy" and all(method is not None and method.needs_labels for method in logged):
        return "accuracy on training images"
    return CURVES.get(name, name.replace("_", " "))


def probe_table(runs: Sequence[RunContent]) -> Markup:
    """Every probe of every run in one table that sorts by any column."""
    rows: list[tuple[int, RunContent, ProbeRow]] = []
    for position, run in enumerate(runs):
        rows += [(position, run, row) for row in probe_rows(run.probes)]
    if not rows:
        return Markup("")
    columns = [
        "model",
        "data",
        "probe",
        "accuracy %",
        "95 % interval",
        "mean per class %",
        "top 5 %",
        "images",
        "chosen",
    ]
    data = {row.data for _, _, row in rows}
    empty = {
        "data": len(data) == 1,
        "top 5 %": all(row.top5 is None for _, _, row in rows),
        "mean per class %": all(row.mean_per_class is None for _, _, row in rows),
        "images": all(row.n is None for _, _, row in rows),
        "chosen": not any(row.chosen for _, _, row in rows),
    }
    shown = [column for column in columns if not empty.get(column)]
    body = []
    for position, run, row in rows:
        model = row.model if row.baseline else run.name
        name = tag("td", tag("i", class_=f"dot {'base' if row.baseline else f'r{position % 6}'}"), model)
        interval = f"{percent(row.low)} – {percent(row.high)}"
        cells = {
            "model": name,
            "data": tag("td", row.data),
            "probe": tag("td", row.title),
            "accuracy %": figure(row.top1, percent(row.top1), strong=True),
            "95 % interval": figure(row.low, interval),
            "mean per class %": figure(row.mean_per_class, percent(row.mean_per_class)),
            "top 5 %": figure(row.top5, percent(row.top5)),
            "images": figure(row.n, "–" if row.n is None else f"{row.n:,}"),
            "chosen": tag("td", row.chosen, class_="fine"),
        }
        body.append(tag("tr", [cells[column] for column in shown]))
    tuned = any(row.probe == FINE_TUNED for _, _, row in rows)
    read = f"Frozen features ({FINE_TUNED}: the classifier that was trained with the backbone)" if tuned else None
    caption = tag("p", read or "Frozen features", " of ", tag("b", *data), ", held-out images.", class_="hint")
    return join([caption if len(data) == 1 else None, sortable(shown, body, "probes")])


def confusion(matrix: Confusion) -> Markup:
    """Shares of each row as a coloured matrix; of very many classes only the commonest mistakes."""
    counts = np.asarray(matrix.counts, dtype=np.int64)
    totals = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    wrong = shares * (1 - np.eye(len(counts)))
    names = [str(name) for name in matrix.classes]
    if len(counts) > LARGEST_MATRIX:
        order = [
            (int(i), int(j))
            for i, j in zip(*np.unravel_index(np.argsort(-wrong, axis=None)[:20], wrong.shape), strict=True)
        ]
        rows = [
            tag("tr", tag("td", names[i]), tag("td", names[j]), figure(shares[i, j], percent(float(shares[i, j]))))
            for i, j in order
            if counts[i, j] and i != j
        ]
        table = sortable(["image of", "answered", "share of the class %"], rows, "confusions")
        return tag("figure", tag("figcaption", f"{matrix.title}: the commonest mistakes"), table)
    worst = max(float(wrong.max()), 1e-9)
    body = []
    for i, name in enumerate(names):
        cells = []
        for j in range(len(names)):
            share, count = float(shares[i, j]), int(counts[i, j])
            depth = share if i == j else 0.85 * share / worst
            tip = f"{name} → {names[j]}: {count:,} of {int(totals[i, 0]):,} ({100 * share:.1f} %)"
            text = f"{100 * share:.0f}" if count else ""
            kind = "hit" if i == j else "miss"
            cells.append(tag("td", text, class_=kind, style=f"--v:{depth:.3f}", data_tip=tip))
        body.append(tag("tr", tag("th", name, scope="row"), cells))
    head = tag("tr", tag("td"), [tag("th", tag("span", name), scope="col") for name in names])
    table = tag("table", tag("thead", head), tag("tbody", body), class_="confusion")
    return tag("figure", tag("figcaption", matrix.title), tag("div", table, class_="wide"))


def confusions(runs: Sequence[RunContent]) -> Markup:
    """The matrices of all runs."""
    parts = [join(confusion(matrix) for matrix in run.confusions) for run in runs]
    if not any(parts):
        return Markup("")
    caption = "Rows: what the image is. Columns: what was answered. Numbers: percent of the row."
    return join([tag("p", caption, class_="hint"), side_by_side(runs, parts)])


def embedding(runs: Sequence[RunContent]) -> Markup:
    """Held-out images as points; runs that were read on the same images share thumbnails and highlights."""
    atlases: dict[bytes, str] = {}
    styles: list[str] = []
    parts: list[Markup] = []
    for run in runs:
        atlas = run.atlas
        if atlas is None or not run.projections:
            parts.append(Markup(""))
            continue
        sheet, columns, side = sprite(atlas.images)
        known = sheet in atlases
        key = atlases.setdefault(sheet, f"atlas{len(atlases)}")
        if not known:
            styles.append(f'.{key}{{background-image:url("{data_uri(sheet)}")}}')
        names = [
            f"{atlas.classes[int(atlas.labels[i])]}\n{name}" if atlas.labels is not None and atlas.classes else name
            for i, name in enumerate(atlas.names)
        ]
        maps = [tag("figure", tag("figcaption", p.title), scatter(p, atlas)) for p in run.projections]
        data = tag("template", json.dumps(names, ensure_ascii=False), class_="names")
        parts.append(
            tag(
                "div", None if known else class_buttons(atlas), maps, data,
                class_="maps", data_atlas=key, data_columns=columns, data_side=side,
            )
        )  # fmt: skip
    if not any(parts):
        return Markup("")
    hint = (
        "Held-out images. Point at one to see it, everywhere it appears; a class in the legend shows that class alone."
    )
    return join([tag("style", Markup("".join(styles))), tag("p", hint, class_="hint"), stacked(runs, parts)])


def class_buttons(atlas: Atlas) -> Markup | None:
    """The classes of an atlas in their colours; a click leaves one class standing alone."""
    if atlas.labels is None:
        return None
    present = sorted(set(atlas.labels.tolist()))
    names = atlas.classes or [str(label) for label in range(max(present) + 1)]
    buttons = [
        tag(
            "button",
            tag("i", class_="dot", style=f"background:{class_colour(c, len(names))}"),
            names[c],
            type="button",
            data_c=c,
        )
        for c in present
    ]
    return tag("p", buttons, class_="legend classes")


def gallery(content: Gallery) -> Markup:
    """Rows of small images."""
    names = [tag("th", name, scope="row") for name in content.row_names]
    head = tag("tr", tag("td") if names else None, [tag("th", column, scope="col") for column in content.columns])
    body = [tag("tr", names[i] if names else None, map(_cell, row)) for i, row in enumerate(content.rows)]
    table = tag("table", tag("thead", head), tag("tbody", body), class_="gallery" if names else "gallery first")
    caption = tag("p", content.caption, class_="hint") if content.caption else None
    return tag("figure", tag("figcaption", content.title), caption, tag("div", table, class_="wide"))


def _cell(cell: Cell) -> Markup:
    mark = {True: "right", False: "wrong", None: ""}[cell.right]
    image = tag("img", src=data_uri(png(to_picture(cell.image, SMALL))), alt=cell.tip, class_=mark or None)
    return tag("td", image, data_tip=cell.tip or None)


def galleries(runs: Sequence[RunContent]) -> Markup:
    """The views as the method saw them, and whatever else a method has to show."""
    parts = [join([*map(gallery, run.galleries), *map(picture, run.pictures)]) for run in runs]
    return stacked(runs, parts)


def retrieval(runs: Sequence[RunContent]) -> Markup:
    """Nearest neighbours of the same images in every run."""
    found = [
        # the caption is the same for all
        replace(run.retrieval, caption="") if run.retrieval and i else run.retrieval
        for i, run in enumerate(runs)
    ]
    return stacked(runs, [gallery(content) if content else Markup("") for content in found])


def picture(content: Picture) -> Markup:
    """A picture file; SVG goes in as an image, where it can run nothing."""
    image = tag("img", src=data_uri(content.data, content.mime), alt=content.title, loading="lazy")
    return tag("figure", tag("figcaption", content.title), image, class_="picture")


def forgetting(runs: Sequence[RunContent]) -> Markup:
    """What was forgotten, how, and what it changed."""
    return stacked(runs, [join(map(_forgetting, run.forgetting)) for run in runs])


def _forgetting(content: Forgetting) -> Markup:
    models = list(content.measures)
    names = dict.fromkeys(name for values in content.measures.values() for name in values)
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    rows = [
        tag("tr", _in_words(name), [_measure(name, content.measures[model]) for model in models])
        for name in names
        if name not in ends
    ]
    columns = ["measure", *(MODELS.get(model, model) for model in models)]
    table = sortable(columns, rows, "forgetting") if rows else None
    notes = [tag("p", note) for note in content.notes]
    pictures = tag("div", map(picture, content.pictures), class_="pictures")
    return tag("article", tag("h3", content.title), facts(content.facts), notes, table, pictures)


def _in_words(measure: str) -> Markup:
    title, meaning = in_words(measure)
    return tag("td", title, tag("small", meaning) if meaning else None, class_="words")


def _measure(name: str, found: Mapping[str, float]) -> Markup:
    """A figure, with its interval where it has one."""
    if (value := found.get(name)) is None:
        return figure(None, "–")

    def shown(each: float) -> str:
        return percent(each) if is_share(name) else number(each)

    low, high = (found.get(f"{name}_{end}") for end in ("low", "high"))
    text = f"{shown(value)} %" if is_share(name) else shown(value)
    return figure(value, text if low is None or high is None else f"{text} [{shown(low)}, {shown(high)}]")
