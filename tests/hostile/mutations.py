"""Recipes as nobody should write them: built-in ones with keys, values, text and overrides changed at random."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.recipes.load import builtin_recipes, read_recipe
from unlabeled.recipes.resolve import load_recipe, recipe_yaml

SECONDS = 10
"""More than this for one recipe is a hang."""
WORDS = """method name simclr data epochs backbone args optimizer views seed hardware precision labels schema_version
null true ~ .nan 1e999 -1 0 10% 0x10 1:30 99999999999999999999 [] {} * & | > !!python/none folder:.. npz:/dev/zero"""
TEXT = st.text(max_size=8) | st.sampled_from(WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.dates() | st.binary(max_size=4)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)


@st.composite
def recipes(draw: st.DrawFn) -> tuple[str, list[str]]:
    """The text of a recipe file, and overrides."""
    content, _ = read_recipe(draw(st.sampled_from(sorted(builtin_recipes()))))
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, content)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):
        place, length = draw(st.integers(0, len(text))), draw(st.integers(0, 5))
        text = text[:place] + draw(TEXT) + text[place + length :]
    paths = st.lists(TEXT, min_size=1, max_size=3).map(".".join) | st.sampled_from(sorted(_paths(content)))
    overrides = draw(st.lists(st.builds(lambda path, value: f"{path}={value}", paths, TEXT), max_size=2))
    return text, overrides


def _mutate(draw: st.DrawFn, content: dict[str, Any]) -> None:
    node: Any = content
    for _ in range(draw(st.integers(0, 3))):
        inner = [
            value for value in (node if isinstance(node, list) else node.values()) if isinstance(value, dict | list)
        ]
        if not inner:
            break
        node = draw(st.sampled_from(inner))
    if isinstance(node, list):
        node.append(draw(VALUES))
    elif node and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(node, key=str)))
        what = draw(st.sampled_from(["drop", "rename", "value"]))
        value = node.pop(key) if what != "value" else draw(VALUES)
        if what != "drop":
            node[draw(TEXT) if what == "rename" else key] = value
    else:
        node[draw(LEAVES.filter(lambda leaf: not isinstance(leaf, bytes)))] = draw(VALUES)


def _paths(node: Any, prefix: str = "") -> set[str]:
    found = {"seed"}
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        path = f"{prefix}.{key}" if prefix else str(key)
        found |= {path} | (_paths(value, path) if isinstance(value, dict | list) else set())
    return found


def judge(text: str, overrides: list[str], folder: Path) -> str:
    """``"accepted"`` or ``"refused"``; anything else is an assertion's or a traceback's business."""
    path = folder / "recipe.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        recipe = load_recipe(path, overrides)
    except UserError as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert len(message) < 5000
        return "refused"
    path.write_text(recipe_yaml(recipe))
    assert load_recipe(path) == recipe
    return "accepted"


def fuzz(examples: int, number: int = 0) -> Counter[str]:
    """Judge so many mutated recipes and count the verdicts.

    Raises:
        Exception: whatever a recipe brought to light, with the smallest such recipe.
    """
    verdicts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=SECONDS * 1000,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(recipes())
        def check(case: tuple[str, list[str]]) -> None:
            verdicts[judge(*case, Path(folder))] += 1

        check()
    return verdicts
