"""A small search for the settings of a method, scored on training images alone.

    python benchmarks/methods_search.py vicreg --images FOLDER/train --cpu-seconds 150 \
        --try "optimizer.lr=4.0e-3" --try "optimizer.lr=1.0e-3 method.projection_dim=1024"

`--images` holds a folder a class and no test split, so a fifth of them is held out and scored; test images are never
read. The first row is the recipe as it is. Each try is trained for the same CPU seconds as the rows of methods.py and
kept in benchmarks/results/methods/search/METHOD.json; what is there is not computed again. The table is a section of
RESULTS.md, the winner goes into the recipe by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from _methods import PROBES, Where, settings, step_seconds, trained
from _results import HERE, machine, section

from unlabeled.core.files import atomic_write_json
from unlabeled.probes.intervals import accuracy_interval

FOLDER = HERE / "results" / "methods" / "search"
SHOWN = ("epochs", "seconds", "rankme", *PROBES)


def kept(method: str) -> dict[str, Any]:
    """What was tried so far, by its settings and budget."""
    file = FOLDER / f"{method}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def tried(where: Where, method: str, change: str, budget: float) -> dict[str, Any]:
    """Train with the changed settings, and score."""
    more = tuple(change.split())
    recipe = where.recipe(method, 0, more)
    row = trained(where, method, 0, budget, step_seconds(recipe), more)
    images = len(where.split("test"))
    return {key: row[key] for key in SHOWN} | {"images": images, "settings": settings(recipe)}


def page() -> str:
    """All searches, the best try of each method first."""
    lines = [
        "## Settings for 32-pixel colour images, chosen on training images",
        "",
        '`python benchmarks/methods_search.py METHOD --images FOLDER/train --cpu-seconds S --try "KEY=VALUE …"` on '
        f"{machine()}. A fifth of the training images is held out and scored, in % with half of the 95 % interval; "
        "seed 0. The row without a change is the recipe as it was.",
        "",
        "| method | changed | CPU s | linear | kNN | NMC | RankMe |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for file in sorted(FOLDER.glob("*.json")):
        found = json.loads(file.read_text())
        for name in sorted(found, key=lambda name: -found[name]["linear"]):
            row, (change, _, budget) = found[name], name.rpartition(" @ ")
            cells = []
            for probe in PROBES:
                low, high = accuracy_interval(round(row[probe] * row["images"]), row["images"])
                cells.append(f"{100 * row[probe]:.1f} ± {50 * (high - low):.1f}")
            cells.append(f"{row['rankme']:.0f}")
            lines.append(f"| {file.stem} | {f'`{change}`' if change else '–'} | {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Compute the tries that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("--images", type=Path, required=True, help="a folder a class, training images only")
    parser.add_argument("--cpu-seconds", type=float, default=150)
    parser.add_argument("--try", dest="tries", action="append", default=[], metavar="KEY=VALUE …")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = Where(f"folder:{options.images}", None)
    for change in ("", *options.tries):
        name = f"{change} @ {options.cpu_seconds:g}"
        if name not in kept(options.method):
            FOLDER.mkdir(parents=True, exist_ok=True)
            row = tried(where, options.method, change, options.cpu_seconds)
            atomic_write_json(FOLDER / f"{options.method}.json", kept(options.method) | {name: row})
            print(change or "as it is", {key: row[key] for key in SHOWN}, flush=True)
        section("methods-search", page())


if __name__ == "__main__":
    main()
