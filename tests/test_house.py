"""The rooms of the package: nothing points upwards or in a circle; the checker itself sees both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("tomllib")  # Python 3.11


@pytest.fixture(scope="module")
def checker(script: Callable[[Path], ModuleType]) -> ModuleType:
    return script(ROOT / "docs" / "tools" / "house.py")


def test_the_house_is_sound(checker: ModuleType) -> None:
    assert checker.faults(checker.look(ROOT)) == []


def test_an_upward_arrow_and_a_circle_are_seen(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """[[tool.importlinter.contracts]]
type = "layers"
layers = ["unlabeled.top", "unlabeled.left | unlabeled.right", "unlabeled.bottom"]
"""
    )
    for room, imported in {"top": "left", "left": "bottom", "right": "left", "bottom": "left"}.items():
        (tmp_path / "unlabeled" / room).mkdir(parents=True)
        (tmp_path / "unlabeled" / room / "a.py").write_text(f"from unlabeled.{imported}.a import x\n")
    house = checker.look(tmp_path)
    assert sorted(house.upward) == [("bottom", "left"), ("right", "left")]
    assert set(house.circle) == {"unlabeled.left.a", "unlabeled.bottom.a"}
    assert house.lines == {"top": 1, "left": 1, "right": 1, "bottom": 1}
    assert checker.draw(house).count("<rect") == 4
