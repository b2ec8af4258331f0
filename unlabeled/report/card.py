"""The model card of an exported backbone: what it is, what it learned from, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlabeled import backbones
from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.version import VERSION
from unlabeled.recipes.resolve import recipe_yaml
from unlabeled.report.gather import probe_reports
from unlabeled.report.tables import FINE_TUNED, counted, markdown, plain, probe_rows
from unlabeled.runs.folder import Run
from unlabeled.ssl.methods import METHODS

FRONT = """---
library_name: timm
pipeline_tag: {task}
license: {licence}
tags: [unlabeled, self-supervised-learning, feature-extraction, timm{method}]
---
"""
MOST_CLASSES = 50
LIMITS = """## Limits

- What probes read from the embeddings of other data than those of the table has not been measured.
- Accuracies come from probes trained on frozen features with labels of the named data; brackets are 95 % intervals over
  the test images of one run, and say nothing of the spread between seeds.
- The weights were fitted to the images named above and may keep traces of single images; whoever may demand their
  deletion should be answered with a forgetting run, not with this file.
- Not examined for bias, nor for any use in which a wrong answer harms someone.
"""


def model_card(
    source: str | Path,
    folder: Path,
    *,
    repo: str | None = None,
    licence: str = "unknown",
    classes: Sequence[str] = (),
) -> str:
    """Write a card from a run (or, for a bare backbone folder, from its configuration alone).

    Args:
        source: the run.
        folder: its timm folder.
        repo: where it will be found; default: a placeholder.
        licence: of the weights.
        classes: what the classifier tells apart that goes out with them, if one does.

    Returns:
        Markdown with the Hub's YAML in front.

    Raises:
        UserError: the licence is not a single word.
    """
    if not licence or not all(c.isalnum() or c in "-._" for c in licence):
        raise UserError(f"--licence must be an identifier such as apache-2.0 or mit, not {licence!r}.")
    config = backbones.load_config(folder)
    run = Run(source)
    method = run.recipe().method.name if run.exists() else None
    place = repo or "OWNER/NAME"
    name = plain(place.rpartition("/")[2] if repo else run.folder.resolve().name)
    parts = [
        FRONT.format(
            licence=licence,
            method=f", {method}" if method else "",
            task="image-classification" if classes else "image-feature-extraction",
        ),
        f"# {name}\n\n{_sentence(config, method)}\n",
        _use(config, place),
        *_classes(place, classes),
        *_life(folder),
        *(_from_run(run, name) if run.exists() else []),
        LIMITS,
        _licence(licence),
    ]
    return "\n".join(parts)


def _sentence(config: Mapping[str, Any], method: str | None) -> str:
    size = config["pretrained_cfg"].get("input_size", ["?"] * 3)
    text = (
        f"An image encoder (timm `{config['architecture']}`, images {'×'.join(map(str, size))} to "
        f"{config.get('num_features', '?')} numbers)"
    )
    if method is None:
        return f"{text}, exported by unlabeled {VERSION}."
    labels = "with labels" if METHODS[method].needs_labels else "without labels"
    return f"{text} trained {labels} by `{method}` with unlabeled {VERSION}."


def _use(config: Mapping[str, Any], place: str) -> str:
    small = config["architecture"] in backbones.SMALL
    note = f"import unlabeled.backbones  # adds {config['architecture']} to timm\n" if small else ""
    mode = "L" if config["pretrained_cfg"]["input_size"][0] == 1 else "RGB"
    return f"""## Use

```python
import unlabeled

backbone = unlabeled.load_backbone("hf-hub:{place}")
embeddings = backbone.embed(images)  # uint8 or float in [0, 1], arrays, tensors or PIL images; normalised inside
```

or by timm alone:

```python
import timm
{note}model = timm.create_model("hf-hub:{place}", pretrained=True, num_classes=0).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
embedding = model(transform(picture.convert("{mode}"))[None])
```
"""


def _classes(place: str, classes: Sequence[str]) -> list[str]:
    """How to classify with it, and what it tells apart."""
    if not classes:
        return []
    shown = ", ".join(plain(name) for name in classes[:MOST_CLASSES])
    more = f", … ({len(classes):,} in all)" if len(classes) > MOST_CLASSES else ""
    return [
        f"""## Classify

Its classifier tells {len(classes):,} classes apart: {shown}{more}. By `unlabeled predict hf-hub:{place} FOLDER`, or:

```python
classifier = timm.create_model("hf-hub:{place}", pretrained=True).eval()  # transform and picture as above
likeliest = classifier(transform(picture)[None]).argmax(1).item()
print(classifier.pretrained_cfg["label_names"][likeliest])
```
"""
    ]


def _life(folder: Path) -> list[str]:
    """What the weights started from, and every step since; places on the author's machine are nobody's business."""
    lines = []
    for step in backbones.read_lineage(folder):
        source = step.source if step.source.startswith(("timm:", "hf-hub:")) else Path(step.source).name
        seen = step.data.model_copy(update={"name": Path(step.data.name).name}) if step.data else None
        said = str(step.model_copy(update={"source": source, "data": seen}))
        lines.append(f"1. {plain(said)}" + (f" (weights `{step.digest}`)" if step.digest else ""))
    start = "Everything since the random start:" if lines and "from " not in lines[0] else "What they started from:"
    return ["\n".join(["## Where the weights come from\n", start + "\n", *lines, ""])] if lines else []


def _from_run(run: Run, name: str) -> list[str]:
    recipe, data = run.recipe(), run.read_json(run_files.DATA)
    shape = "×".join(map(str, data.get("shape") or []))
    images = f"{data.get('images', '?')} images {shape}, split `{data.get('split', '?')}`"
    if run.forgets():
        images += ", less those that were forgotten since"
    lines = [
        "## Data and training\n",
        f"- Data: {plain(Path(recipe.data.name).name)}, {images} (fingerprint `{data.get('fingerprint', '?')}`). "
        + ("Its labels were read." if METHODS[recipe.method.name].needs_labels else "Labels were not read."),
        f"- Training: {counted(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}, `{recipe.optimizer.name}`, "
        f"seed {recipe.seed}.",
    ]
    environment = run.read_json(run_files.ENVIRONMENT)
    versions = environment.get("versions")
    if isinstance(versions, dict):
        lines.append("- Software: " + ", ".join(f"{plain(str(k))} {plain(str(v))}" for k, v in versions.items()) + ".")
    # paths on the author's machine are nobody's business
    public = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(
                update={"dir": None, "name": Path(recipe.data.name).name, "without": _last(recipe.data.without)}
            ),
            "backbone": recipe.backbone.model_copy(update={"weights": _last(recipe.backbone.weights)}),
        }
    )
    lines.append(
        "\n<details><summary>The whole recipe</summary>\n\n```yaml\n" + recipe_yaml(public) + "```\n\n</details>\n"
    )
    return ["\n".join(lines), _probes(run, name), *_forgotten(run)]


def _last(path: str | None) -> str | None:
    return None if path is None else Path(path).name


def _probes(run: Run, name: str) -> str:
    rows = [
        replace(row, model=row.model if row.baseline else name, data=Path(row.data).name)
        for row in probe_rows(probe_reports(run))
    ]
    if not rows:
        return "## Evaluation\n\nNot evaluated.\n"
    table, tuned = markdown(rows), FINE_TUNED in {row.probe for row in rows}
    read = "frozen features" + (f"; {FINE_TUNED}: the classifier that was trained with the backbone" if tuned else "")
    images = max((row.n or 0 for row in rows), default=0)
    return f"## Evaluation\n\nAccuracy in percent on up to {images:,} held-out images, {read}.\n\n{table}\n"


def _forgotten(run: Run) -> list[str]:
    below = sorted((run.folder / run_files.FORGETTING).glob("*/record.json"))
    own = run.read_json(run_files.RECORD)
    others = [run.read_json(str(path.relative_to(run.folder))) for path in below]
    lines = []
    if own:
        lines += ["These weights are the result of forgetting:", "", _request(own), ""]
    if any(others):
        lines += ["Models derived from these weights forgot (the weights here did not):", ""]
        lines += [_request(record) for record in others if record]
    return ["\n".join(["## Forgetting", "", *lines, ""])] if lines else []


def _request(record: Mapping[str, Any]) -> str:
    request, method = (part if isinstance(part := record.get(key), dict) else {} for key in ("request", "method"))
    return f"- {plain(str(request.get('description')))}, by {plain(str(method.get('name')))} ({record.get('written')})."


def _licence(licence: str) -> str:
    if licence == "unknown":
        text = "No licence has been chosen for these weights; ask their author before using them."
    else:
        text = f"The weights are under `{licence}`."
    return f"## Licence\n\n{text} The images they were trained on keep their own terms.\n"
