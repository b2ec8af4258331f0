"""The pages docs/add_a_*.md, carried out word for word in a copy of the package, each in its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NUMBERS = {"two": 2, "three": 3, "four": 4}


def method(checkout: Path) -> None:
    assert (checkout / "runs" / "first" / "backbone" / "model.safetensors").is_file()
    assert "temperature: 0.2" in (checkout / "runs" / "first" / "recipe.yaml").read_text()


def probe(checkout: Path) -> None:
    (report,) = json.loads((checkout / "probes.json").read_text())["reports"]
    assert list(report["probes"]) == ["nmc", "shrunken"]
    assert report["probes"]["shrunken"]["chosen"] == {"threshold": 0.5}
    assert report["probes"]["shrunken"]["top1"] > 0.5


def forgetter(checkout: Path) -> None:
    record = json.loads((checkout / "runs" / "second" / "record.json").read_text())
    assert record["method"]["name"] == "simnpo"
    assert record["method"]["settings"]["lr"] == 1e-3
    assert record["models"]["original"] != record["models"]["forgotten"]


def measure(checkout: Path) -> None:
    record = json.loads((checkout / "runs" / "second" / "record.json").read_text())
    assert record["measures"]["retrained"]["churn"] == 0
    assert 0 <= record["measures"]["after"]["churn"] <= 1


def source(checkout: Path) -> None:
    assert "clip.gif" in (checkout / "runs" / "frames" / "recipe.yaml").read_text()
    assert (checkout / "runs" / "frames" / "backbone" / "model.safetensors").is_file()


LEFT: dict[str, Callable[[Path], None]] = {
    "add_a_method.md": method,
    "add_a_probe.md": probe,
    "add_a_forgetter.md": forgetter,
    "add_a_measure.md": measure,
    "add_a_source.md": source,
}
"""What the commands of a page leave behind."""


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Title and text of each block."""
    pattern = rf"^```(?:{'|'.join(languages)})(?: title=\"(.+?)\")?\n(.*?)^```$"
    return re.findall(pattern, (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def patch(text: str, diff: str) -> str:
    """Apply a block of context and added lines at the only place where the context stands."""
    lines = diff.splitlines()
    context = "\n".join(line[1:] for line in lines if line.startswith(" "))
    result = "\n".join(line[1:] for line in lines)
    assert text.count(context) == 1, context
    return text.replace(context, result)


@pytest.fixture(scope="module", params=LEFT)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def checkout(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "unlabeled", folder / "unlabeled", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    ((_, commands),) = blocks(page, "sh")
    added = blocks(page, "python", "yaml")
    fixtures = {str(Path(title).with_name("conftest.py")) for title, _ in added if title.startswith("tests/")}
    for name in {*re.findall(r"tests/\S+\.py", commands), *fixtures}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    for title, text in added:
        assert not (folder / title).exists(), "the page adds files, it replaces none"
        (folder / title).write_text(text)
    for title, diff in blocks(page, "diff"):
        (folder / title).write_text(patch((folder / title).read_text(), diff))
    return folder


def test_every_page_is_carried_out() -> None:
    assert {path.name for path in DOCS.glob("add_a_*.md")} == set(LEFT)


def test_the_page_counts_the_files_rightly(page: str) -> None:
    touched = {title for title, _ in blocks(page, "python", "yaml", "diff")}
    (number,) = re.findall(r"A new \w+ is (\w+) files:", (DOCS / page).read_text())
    assert NUMBERS[number] == len(touched)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_page_runs(page: str, checkout: Path) -> None:
    ((_, commands),) = blocks(page, "sh")
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "UNLABELED_CACHE": str(checkout / "cache"),
    }
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=checkout, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    LEFT[page](checkout)


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"]])
def test_the_pages_code_meets_the_projects_style(page: str, checkout: Path, tool: list[str]) -> None:
    pytest.importorskip("ruff")
    files = [title for title, _ in blocks(page, "python")]
    done = subprocess.run(
        [sys.executable, "-m", *tool, *files], cwd=checkout, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_hooks_that_exist(page: str) -> None:
    from unlabeled.data.listing import Listing
    from unlabeled.forgetting.contract import Forgetter
    from unlabeled.forgetting.judge.measure import Measure
    from unlabeled.probes.base import Probe
    from unlabeled.ssl.method import Method

    hooks: dict[str, tuple[type, int]] = {
        "add_a_method.md": (Method, 10),
        "add_a_probe.md": (Probe, 6),
        "add_a_forgetter.md": (Forgetter, 10),
        "add_a_measure.md": (Measure, 4),
        "add_a_source.md": (Listing, 3),
    }
    contract, number = hooks[page]
    names = re.findall(r"^\| `(\w+)", (DOCS / page).read_text(), re.MULTILINE)
    assert len(names) == number
    assert all(hasattr(contract, name) or name in contract.__annotations__ for name in names)
