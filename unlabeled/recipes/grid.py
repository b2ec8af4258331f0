"""A grid of recipes: ``key=a,b,c`` and ``seed=0..2``, every value with every other."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlabeled.core.errors import UserError
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe

LONGEST = 80
"""Characters of a folder's name."""


@dataclass(frozen=True)
class Point:
    """One recipe of a grid.

    Attributes:
        setting: what varies beside the seed, as ``("optimizer.lr=0.1", …)``; those of one setting differ by seed.
        name: of a folder, the same in every grid that holds the point.
    """

    setting: tuple[str, ...]
    name: str
    recipe: Recipe

    @property
    def title(self) -> str:
        """The setting in a line."""
        return " ".join(self.setting) or "as it is"


def values(text: str) -> list[str]:
    """The values after ``key=``: at commas that no bracket or quote holds together, and whole numbers from … to ….

    >>> values("0.1,0.3"), values("0..2"), values("[1,2],[3]"), values("'a,b'")
    (['0.1', '0.3'], ['0', '1', '2'], ['[1,2]', '[3]'], ["'a,b'"])
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not parts[-1]:
            quote = letter
        elif letter == "," and not depth:
            parts.append("")
            continue
        else:
            depth += (letter in "[{") - (letter in "]}")
        parts[-1] += letter
    found = []
    for part in parts:
        ends = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        found += [str(number) for number in range(int(ends[1]), int(ends[2]) + 1)] if ends else [part]
    return found


def grid(source: str | Path, settings: Sequence[str]) -> list[Point]:
    """Every combination, checked; all settings with the first seed come first, then all with the next.

    Args:
        source: a recipe by name, file or run folder.
        settings: ``key=value`` for all, ``key=a,b`` or ``seed=0..2`` to vary.

    Raises:
        UserError: nothing varies, a key is given twice, a value is missing, two recipes are the same, or one is wrong.

    >>> [point.name for point in grid("simclr", ["optimizer.lr=0.1,0.3", "seed=0..1"])][:3]
    ['optimizer.lr=0.1_seed=0', 'optimizer.lr=0.3_seed=0', 'optimizer.lr=0.1_seed=1']
    """
    axes: dict[str, list[str]] = {}
    for given in settings:
        key, equals, text = given.partition("=")
        if not equals or not key:
            raise UserError(f"'{given}' is not a setting; write key=value, or key=a,b,c to vary it.")
        if key in axes:
            raise UserError(f"{key} is given twice; write all its values in one: {key}=a,b,c.")
        axes[key] = values(text)
        if not axes[key] or ("" in axes[key] and len(axes[key]) > 1):
            raise UserError(f"'{given}' lacks a value between its commas or dots; write key=a,b,c or seed=0..2.")
    varied = [key for key, found in axes.items() if len(found) > 1]
    if not varied:
        raise UserError("nothing varies: write key=a,b,c or seed=0..2; a single run is `unlabeled pretrain`.")
    if "data" in varied or "data.name" in varied:
        raise UserError("figures on different data cannot be compared; sweep one data set at a time.")
    seeds = [{"seed": seed} for seed in axes.pop("seed", [])]
    points: list[Point] = []
    for seed in seeds or [{}]:
        for chosen in itertools.product(*axes.values()):
            pairs = dict(zip(axes, chosen, strict=True)) | seed
            setting = tuple(f"{key}={value}" for key, value in pairs.items() if key in varied and key != "seed")
            recipe = load_recipe(source, [f"{key}={value}" for key, value in pairs.items()])
            points.append(Point(setting, _name((*setting, f"seed={recipe.seed}")), recipe))
    known: dict[str, Point] = {}
    for point in points:
        twin = known.setdefault(point.recipe.model_dump_json(), point)
        if twin is not point:
            raise UserError(f"'{twin.title}' and '{point.title}' are the same recipe (seed {point.recipe.seed}).")
    return points


def _name(settings: Sequence[str]) -> str:
    """A folder's name; what does not fit one is told apart by a hash."""
    whole = "_".join(settings)
    plain = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in whole)[:LONGEST]
    return plain if plain == whole else f"{plain}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
