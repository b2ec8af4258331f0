"""Every method with the same budget of CPU seconds, between raw pixels, its own random start and labels.

    python benchmarks/methods.py --data cifar10 --data-dir FOLDER --cpu-seconds 1200 --seed 0 1 2

One row is one file, benchmarks/results/methods/DATA-BUDGETs/ROW-sSEED.json; rows that are there are not computed
again, unless their recipe has changed since. So the command can be stopped and given again at any time, for more seeds
or new methods as well: every method that has a recipe of its name has a row. Several with different `--rows` may run
at once. The table and the picture are written after each row; `--page` only writes them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from _methods import Where, random_start, raw_pixels, settings, step_seconds, trained
from _methods_page import write_page
from _results import HERE

from unlabeled.core.files import atomic_write_json
from unlabeled.recipes.load import builtin_recipes
from unlabeled.ssl.methods import METHODS

FIRST = (
    "simclr", "vicreg", "byol", "nnclr", "barlow_twins", "moco", "simsiam", "lejepa", "visreg", "ncl", "supervised",
    "sla", "supcon", "mocov3", "swav", "rotation", "gsimclr", "mae", "random_teacher",
)  # fmt: skip
"""The order of the first rows; the other methods follow in the order of their list."""
NOT_ROWS = ("finetune", "distill", "random")
"""They start from trained weights, or learn nothing."""
PIXELS = "raw pixels"


def method_rows() -> list[str]:
    """Every method that learns from scratch and has a recipe of its name."""
    known = [name for name in METHODS if name not in NOT_ROWS and name in builtin_recipes()]
    return [*FIRST, *(name for name in known if name not in FIRST)]


def start_of(where: Where, name: str) -> str:
    """The name of the row of a recipe's random start: recipes with the same network share one."""
    recipe = where.recipe(name, 0)
    args = recipe.backbone.args.items()
    shape = "".join(f", {key} {value}" for key, value in sorted(args) if key not in ("stem_stride", "dynamic_img_size"))
    layer = f", {recipe.features.layer}" if recipe.features.layer else ""
    return f"random {recipe.backbone.name}{shape}{layer}"


def stale(kept: Any, now: Any) -> bool:
    """Whether settings that a row was computed with have another value today; new settings do not count."""
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        return any(key in now and stale(value, now[key]) for key, value in kept.items())
    if isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        return any(stale(one, other) for one, other in zip(kept, now, strict=True))
    return bool(kept != now)


class Store:
    """The rows' files."""

    def __init__(self, where: Where, budget: float) -> None:
        self.where, self.budget = where, budget
        self.folder = HERE / "results" / "methods" / f"{where.data}-{budget:g}s"
        self.folder.mkdir(parents=True, exist_ok=True)

    def file(self, row: str, seed: int) -> Path:
        """Where a row is kept."""
        return self.folder / f"{''.join(c if c.isalnum() or c == '_' else '-' for c in row)}-s{seed}.json"

    def rows(self) -> dict[str, dict[int, Any]]:
        """All rows by name and seed."""
        found: dict[str, dict[int, Any]] = {}
        for file in sorted(self.folder.glob("*-s*.json")):
            row = json.loads(file.read_text())
            found.setdefault(row["row"], {})[row["seed"]] = row
        return found

    def done(self, row: str, seed: int) -> bool:
        """Whether there is nothing to do."""
        file = self.file(row, seed)
        if not file.exists():
            return False
        kept = json.loads(file.read_text()).get("settings")
        return kept is None or not stale(kept, settings(self.where.recipe(row, seed)))

    def keep(self, row: str, seed: int, figures: Mapping[str, Any]) -> None:
        """Write a row."""
        atomic_write_json(self.file(row, seed), {"row": row, "seed": seed, "budget": self.budget, **figures})
        shown = {key: round(figures[key], 3) for key in ("linear", "knn", "nmc", "rankme", "seconds") if key in figures}
        print(row, f"seed {seed}", shown, flush=True)

    def step(self, row: str) -> float:
        """CPU seconds of a step, measured once for all seeds, so that they train equally long."""
        kept = HERE / "results" / "methods" / f"steps-{self.where.data}.json"
        steps = json.loads(kept.read_text()) if kept.exists() else {}
        now = settings(self.where.recipe(row, 0))
        if row not in steps or stale(steps[row]["settings"], now):
            found = {row: {"seconds": step_seconds(self.where.recipe(row, 0)), "settings": now}}
            steps = (json.loads(kept.read_text()) if kept.exists() else {}) | found
            atomic_write_json(kept, steps)
        return float(steps[row]["seconds"])


def missing(store: Store, rows: list[str], seed: int) -> Iterator[tuple[str, Any]]:
    """The rows of a seed that are still to be computed, each behind its random start, and how."""
    where = store.where
    for number, name in enumerate(rows):
        start = start_of(where, name)
        if not store.done(start, seed):
            yield start, lambda name=name: random_start(where, name, seed)
        if not store.done(name, seed):
            yield name, lambda name=name: trained(where, name, seed, store.budget, store.step(name))
        if number == min(7, len(rows) - 1) and not store.done(PIXELS, 0):
            yield PIXELS, lambda: raw_pixels(where)


def main() -> None:
    """Compute what is missing, and write the page after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir")
    parser.add_argument("--cpu-seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=None, help="only these methods")
    parser.add_argument("--page", action="store_true", help="only write the table and the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = Where(options.data, options.data_dir)
    store, names = Store(where, options.cpu_seconds), method_rows()
    starts = {name: start_of(where, name) for name in names}
    if not options.page:
        for seed in options.seed:
            for row, compute in missing(store, options.rows or names, seed):
                store.keep(row, 0 if row == PIXELS else seed, compute())
                write_page(where, options.cpu_seconds, store.rows(), starts)
    write_page(where, options.cpu_seconds, store.rows(), starts)


if __name__ == "__main__":
    main()
