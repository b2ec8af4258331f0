"""The page of an evaluation: one table of models and tasks, differences, curves, what needs no labels, and pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unlabeled.evaluation.without_labels import READINGS
from unlabeled.report import blocks
from unlabeled.report.charts import Line, line_chart, number
from unlabeled.report.document import shell
from unlabeled.report.heat import heat_map
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.tables import counted, percent

Content = Mapping[str, Any]


def evaluation_page(content: Content) -> str:
    """Write the page of what ``unlabeled evaluate --json`` writes: HTML with everything inside.

    Tasks are rows here and models columns: there are mostly more tasks, and their names are longer.
    """
    models, tasks = content["models"], content["tasks"]
    title = f"{counted(len(models), 'model')} on {counted(len(tasks), 'task')}"
    parts = {
        "figures": ("Figures", _figures(content)),
        "differences": ("Paired differences", _differences(content)),
        "curves": ("Curves", _curves(content)),
        "labels": ("Without labels", _without_labels(content)),
        "compatibility": ("In each other's place", _compatibility(content)),
        "layers": ("Layer by layer", _layers(content)),
        "skipped": ("Skipped", _skipped(content)),
    }
    lead = "Every figure is on images that no choice was made on; larger is better. In %, the best of a row is bold."
    return shell(title, lead, parts)


def _dotted(models: Sequence[str]) -> Markup:
    items = [tag("span", tag("i", class_=f"dot r{i % 6}"), model) for i, model in enumerate(models)]
    return tag("p", items, class_="legend")


def _row(name: str, values: Sequence[float | None], text: Callable[[float | None], str] = percent) -> Markup:
    """A line of figures, the largest bold."""
    best = max((value for value in values if value is not None), default=None)
    return tag("tr", tag("td", name), [blocks.figure(v, text(v), strong=v is not None and v == best) for v in values])


def _figures(content: Content) -> Markup:
    models, values = content["models"], content["values"]
    rows = [_row("average", [content["average"][model] for model in models])]
    rows += [_row(task, [values[model].get(task) for model in models]) for task in content["tasks"]]
    return blocks.sortable(["task", *models], rows, "evaluation")


def _differences(content: Content) -> Markup | None:
    models = content["models"]
    found = {(one["task"], one["second"]): one for one in content["differences"] if one["first"] == models[0]}
    if not found:
        return None

    def cell(task: str, model: str) -> Markup:
        one = found.get((task, model))
        if one is None:
            return blocks.figure(None, "–")
        less, span = -100 * one["difference"] or 0.0, one["interval"]  # no difference is +0.0
        if span is None:
            return blocks.figure(less, f"{less:+.1f}")
        low, high = sorted(-100 * end for end in span)
        tip = f"{model} less {models[0]} on {one['images']:,} images: {less:+.2f}, 95 % {low:+.2f} to {high:+.2f}"
        text = f"{less:+.1f} ± {(high - low) / 2:.1f}"
        shown = tag("b", text) if low > 0 or high < 0 else text
        return tag("td", shown, class_="num", data_value=less, data_tip=tip)

    rows = [tag("tr", tag("td", task), [cell(task, m) for m in models[1:]]) for task in content["tasks"]]
    hint = (
        f"Each model less {models[0]}, on the same images, in points, with half the width of the 95 % interval; bold "
        "where that leaves 0 out. The interval is over images, not over other trainings. The JSON file has all pairs."
    )
    return join([tag("p", hint, class_="hint"), blocks.sortable(["task", *models[1:]], rows, "differences")])


def _curves(content: Content) -> Markup | None:
    charts = []
    for task, over in content["over"].items():
        lines = [
            Line(model, i, [x for x, _ in points], [100 * y for _, y in points])
            for i, model in enumerate(content["models"])
            if (points := content["curves"][model].get(task))
        ]
        charts.append(tag("figure", tag("figcaption", f"{task}, %"), line_chart(lines, over)))
    return join([_dotted(content["models"]), tag("div", charts, class_="charts")]) if charts else None


def _without_labels(content: Content) -> Markup | None:
    found, ranks = content["without_labels"], content["rank_correlations"]
    names = [name for name in READINGS if any(name in values for values in found.values())]
    if not names:
        return None

    def cells(values: Mapping[str, float]) -> list[Markup]:
        return [blocks.figure(values.get(n), number(values[n]) if n in values else "–") for n in names]

    rows = [tag("tr", tag("td", model), cells(values)) for model, values in found.items()]
    if ranks:
        own = [blocks.figure(ranks.get(n), f"{ranks[n]:+.2f}" if n in ranks else "–", strong=True) for n in names]
        rows.append(tag("tr", tag("td", tag("b", "rank correlation with the average")), own))
    hint = (
        "Of training features, averaged over the data sets. Which of them would have named the best model? Spearman's "
        "correlation is over the models here; of few it says little. α-ReQ counts as good near 1, uniformity where low."
    )
    table = blocks.sortable(["model", *(READINGS[name].title for name in names)], rows, "unsupervised")
    return join([tag("p", hint, class_="hint"), table])


MATRICES = {
    "cross": "new queries, old gallery: mean average precision in %; bold where it beats the old model's own queries",
    "negative_flips": "what the old model answers rightly and the new one wrongly, in % of the test images",
    "cka": "likeness of the embeddings (unbiased CKA), in %",
}


def _compatibility(content: Content) -> Markup | None:
    figures = []
    for task in dict.fromkeys(pair["task"] for pair in content["pairs"]):
        pairs = {(p["new"], p["old"]): p["measures"] for p in content["pairs"] if p["task"] == task}
        names = [model for model in content["models"] if any(model in pair for pair in pairs)]
        for measure, said in MATRICES.items():
            rows = []
            for new in names:
                cells = []
                for old in names:
                    found = pairs.get((new, old), {})
                    value = found.get(measure)
                    strong = measure == "cross" and value is not None and value > found["old"]
                    cells.append(blocks.figure(value, percent(value), strong=strong))
                rows.append(tag("tr", tag("td", new), cells))
            table = blocks.sortable(["new ↓ old →", *names], rows, f"{task} {measure}")
            figures.append(tag("figure", tag("figcaption", f"{task}: {said}"), table))
    return join(figures) if figures else None


def _layers(content: Content) -> Markup | None:
    models, figures = content["models"], list[Markup]()
    for pair in content["pairs"]:
        if models.index(pair["new"]) < models.index(pair["old"]) and pair["cka"]:
            said = f"{pair['new']} (rows), {pair['old']} (columns)"
            drawn = heat_map(pair["new_layers"], pair["old_layers"], pair["cka"])
            figures.append(tag("details", tag("summary", said), drawn, open=not figures))
    if not figures:
        return None
    hint = (
        "Unbiased linear CKA of each layer of one network with each of the other, from input to output: 1 is the same."
    )
    return join([tag("p", hint, class_="hint"), figures])


def _skipped(content: Content) -> Markup | None:
    rows = [tag("tr", tag("td", name), tag("td", reason)) for name, reason in content["skipped"].items()]
    return blocks.sortable(["task", "reason"], rows, "skipped") if rows else None
