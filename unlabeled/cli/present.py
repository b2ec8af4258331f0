"""Results as text for the terminal; no colour codes where the output is not a terminal."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlabeled.core import run_files
from unlabeled.core.words import command
from unlabeled.probes import catalog
from unlabeled.runs.folder import Run

if TYPE_CHECKING:
    from unlabeled.forgetting.protocol import Row
    from unlabeled.verbs.demo import Demo
    from unlabeled.verbs.forget import Forgotten
    from unlabeled.verbs.predict import Predictions
    from unlabeled.verbs.rerun import Rerun

MOST_COLUMNS = 8
"""Of a table whose rows and columns may change places."""
FORGETTING = {
    "train_r": "Train_r",
    "train_f": "Train_f",
    "test": "Test",
    "test_r": "Test_r",
    "test_f": "Test_f",
    "mia_auc_outputs": "MIA AUC",
    "mia_auc_features": "MIA inside",
    "cka_forget_original": "CKA orig.",
    "cka_forget_retrained": "CKA retr.",
    "reprobe_linear_test_f": "re-probe_f",
    "reprobe_knn_test_f": "kNN_f",
    "reprobe_linear_test": "re-probe",
    "time_ratio": "time",
}

PLAIN_TEXT: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""For rich: names are printed as they are, whatever brackets and colons they hold."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Columns and rows as a table; the first column is text, the others are figures."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        grid.add_column(column, justify="right" if number else "left", no_wrap=bool(number))
    for row in rows:
        grid.add_row(*row)
    # figures are never cut off: a table wider than the terminal is better than one without its numbers
    needed = sum(3 + max(map(len, column)) for column in zip(columns, *rows, strict=True))
    width = max(shutil.get_terminal_size((100, 24)).columns, 80, needed)
    text = io.StringIO()
    console = Console(file=text, width=max(width, len(title)), force_terminal=sys.stdout.isatty(), **PLAIN_TEXT)
    if title:  # not the table's own, which would be broken to the width of a narrow one
        console.print(title, style="italic")
    console.print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def show_probes(reports: Sequence[dict[str, Any]]) -> str:
    """One row a model, one column a probe: accuracy in percent with half its 95 % interval; then the protocols."""
    names = list(dict.fromkeys(name for report in reports for name in report["probes"]))
    rows = []
    for report in reports:
        cells = [_accuracy(report["probes"].get(name)) for name in names]
        rows.append([report["model"], str(report["dimension"]), *cells])
        for few in report.get("few_labels", ()):
            cells = [_accuracy(few["probes"].get(name)) for name in names]
            draws = "1 draw" if few["draws"] == 1 else f"{few['draws']} draws"
            rows.append([f"  {few['labels']}: {few['rows']:,} labels, {draws}", "", *cells])
    data = ", ".join(dict.fromkeys(report["data"] for report in reports))
    titles = ["model", "D", *map(catalog.column, names)]
    tables = [table(titles, rows, f"accuracy on held-out images of {data}, %")]
    if said := _notes(reports):
        tables.append(said)
    if any("incremental" in report for report in reports):
        tables.append(_incremental(reports))
    if any("episodes" in report for report in reports):
        tables.append(_episodes(reports))
    return "\n\n".join(tables)


def _incremental(reports: Sequence[dict[str, Any]]) -> str:
    rows = []
    for report in reports:
        for name, found in report["incremental"]["probes"].items():
            fallen = found["forgetting"][-1] if found["forgetting"] else 0.0
            values = (found["average"], found["final"], fallen)
            rows.append([f"{report['model']}, {catalog.column(name)}", *(f"{100 * value:.1f}" for value in values)])
    steps = len(reports[0]["incremental"]["steps"])
    return table(["model, probe", "average", "final", "forgetting"], rows, f"classes in {steps} steps, no rows kept, %")


def _episodes(reports: Sequence[dict[str, Any]]) -> str:
    columns = [f"{e['ways']}-way {e['shots']}-shot" for e in reports[0]["episodes"]]
    rows = [
        [report["model"], *(_accuracy({"top1": e["accuracy"], **e}) for e in report["episodes"])] for report in reports
    ]
    return table(["model", *columns], rows, f"nearest mean over {reports[0]['episodes'][0]['episodes']} episodes, %")


def _notes(reports: Sequence[dict[str, Any]]) -> str:
    """What a reader must know of the figures, each note once, with the models it is about where it is not all."""
    about: dict[str, list[str]] = {}
    for report in reports:
        for note in report.get("notes", ()):
            about.setdefault(note, []).append(report["model"])
    return "\n".join(
        f"  {note}" if len(models) == len(reports) else f"  {', '.join(models)}: {note}"
        for note, models in about.items()
    )


def _accuracy(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return "–"
    # a single draw says nothing of how much another one would differ
    return with_interval(probe["top1"], *probe["interval"]) if probe["interval"] else f"{100 * probe['top1']:.1f}"


def with_interval(value: float, low: float, high: float) -> str:
    """A share in percent with half its interval, or with both ends where it lies far from the middle.

    >>> with_interval(0.865, 0.85, 0.88)
    '86.5 ± 1.5'
    >>> with_interval(1.0, 0.839, 1.0)
    '100.0 [83.9, 100.0]'
    """
    below, above = 100 * (value - low), 100 * (high - value)
    if abs(below - above) > 0.5 * (below + above):
        return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f} ± {(below + above) / 2:.1f}"


def show_forgotten(forgotten: Forgotten) -> str:
    """The table of :func:`show_forgetting`, and where the run is that has forgotten."""
    return f"{show_forgetting(forgotten.rows, forgotten.description, forgotten.verdict)}\n\n{show_run(forgotten.run)}"


def show_forgetting(rows: Sequence[Row], description: str, said: Sequence[str] | None = None) -> str:
    """Accuracies, leakage and the representation of every method, and what they say in words."""
    from unlabeled.forgetting.judge.tables import figure, values, verdict

    methods = list(dict.fromkeys(row.method for row in rows))
    columns = {k: v for k, v in FORGETTING.items() if any(values(rows, method, k) for method in methods)}
    lines = [[method, *(figure(rows, method, k) for k in columns)] for method in methods]
    sentences = [f"  {line}" for line in (verdict(rows) if said is None else said)]
    title = f"{description}; accuracies and shares in %"
    return "\n".join([table(["method", *columns.values()], lines, title), "", *sentences])


def show_run(run: Run) -> str:
    """Where a finished run is and what to do with it."""
    place = f"local-dir:{run.backbone}"
    helped = ""
    if "difference" in (found := run.read_json(run_files.BEFORE_AFTER)):
        from unlabeled.runs.before_after import in_words

        helped = f"  {in_words(found)}\n"
    small = json.loads((run.backbone / "config.json").read_text(encoding="utf-8"))["architecture"].endswith("_small")
    return (
        f"run: {run.folder}\n"
        f"{helped}"
        f"  probe it:   {command('probe', run.folder)}\n"
        f"  load it:    unlabeled.load_backbone({str(run.folder)!r})\n"
        f"  by timm:    timm.create_model({place!r}, pretrained=True, num_classes=0)"
        + ("   # after: import unlabeled.backbones" if small else "")
    )


def show_rerun(found: Rerun) -> str:
    """Both hashes of every part, the verdict, and what may explain a difference."""
    lines = []
    for part, (first, second) in found.hashes.items():
        lines += [f"{part:12} {first or '–'}  {found.original.folder}"]
        lines += [f"{'':12} {second or '–'}  {found.repeated.folder}"]
    if found.identical:
        return "\n".join([*lines, "identical, bit for bit"])
    reasons = found.differences or ["the environments are the same as far as they are known"]
    return "\n".join([*lines, "NOT identical", *(f"  {line}" for line in reasons)])


def show_finetuned(run: Run, result: dict[str, Any]) -> str:
    """The classifier's accuracy on held-out images, and where it is."""
    return (
        f"accuracy on {result['n']:,} held-out images of {result['data']}: "
        f"{with_interval(result['top1'], *result['interval'])} %  ({result['labelled']:,} labelled images)\n"
        f"{show_run(run)}\n"
        f"  classify:   {command('predict', run.folder, 'FOLDER')}\n"
        f"  hand on:    {command('export', run.folder, '--classifier', '--to', 'onnx')}"
    )


def show_predictions(found: Predictions, out: Path) -> str:
    """How many images got which class, the commonest first, and where the list is."""
    counts = Counter("(abstained)" if label is None else label for label in found.labels)
    counts["(unreadable)"] = len(found.unreadable)
    width = max(map(len, counts))
    lines = [f"{name:{width}}  {count:,}" for name, count in counts.most_common() if count]
    return "\n".join([*lines, f"{len(found):,} images: {out}"])


def show_dry_run(facts: dict[str, Any]) -> str:
    """The findings of a dry run, one a line."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number:,}" for key, number in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        lines.append(f"{name:16} {value}")
    return "\n".join(lines)


def show_evaluation(content: Mapping[str, Any]) -> str:
    """Models as rows, tasks as columns (turned where there are many), the averages; then what was skipped, and why."""
    tasks, values = content["tasks"], content["values"]

    def row(name: str, average: float | None, found: Mapping[str, float]) -> list[str]:
        cells = (average, *(found.get(task) for task in tasks))
        return [name, *("–" if value is None else f"{100 * value:.1f}" for value in cells)]

    rows = [["model", "average", *tasks]]
    rows += [row(model, content["average"][model], values[model]) for model in content["models"]]
    averages = [value for value in content["average"].values() if value is not None]
    mean = sum(averages) / len(averages) if averages else None
    rows.append(row("mean of the models", mean, content["column_mean"]))
    if len(tasks) > MOST_COLUMNS:
        rows = [list(column) for column in zip(*rows, strict=True)]
    lines = [table(rows[0], rows[1:], "on held-out images, %; larger is better")]
    if any(content["without_labels"].values()):
        lines += ["", _without_labels(content["without_labels"])]
    if content["skipped"]:
        lines += ["", "skipped:", *(f"  {name}: {reason}" for name, reason in content["skipped"].items())]
    for name, rank in content["rank_correlations"].items():
        lines.append(f"{name} ranks the models as their average does with a correlation of {rank:+.2f}")
    return "\n".join(lines)


def _without_labels(found: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    rows = [[model, *(f"{values[n]:.3g}" if n in values else "–" for n in names)] for model, values in found.items()]
    return table(["without labels", *names], rows)


def show_demo(done: Demo) -> str:
    """Both tables of the demo, and what to do next."""
    lines = [
        show_probes(done.reports),
        "",
        show_forgetting(done.rows, f"a small classifier forgets {done.forgotten}"),
        "",
        f"the page to look at: {done.page}",
        f"everything is in {done.out}/ ({done.seconds:.0f} s)",
        "next:",
        "  unlabeled pretrain simclr data=folder:PATH/TO/YOUR/IMAGES data.size=64",
        f"  {command('probe', done.out, '--probes', 'linear,knn,nmc,lda')}",
        f"  {command('forget', done.out, '--forget', 'class:0', '--no-retrain')}",
        f"  python -c {shlex.quote(f'import unlabeled; print(unlabeled.load_backbone({str(done.out)!r}))')}",
    ]
    return "\n".join(lines)
