"""The documentation does what it says: blocks run, the generated page is current, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (
    "index.md",
    "own_images.md",
    "fine_tune.md",
    "existing_models.md",
    "probe_table.md",
    "deletion.md",
    "probes.md",
    "evaluate.md",
)
"""In the order in which a reader meets them: later ones use the runs of earlier ones."""
SEARCHED = {"predict": "fine_tune", "label": "fine_tune", "fine-tune": "fine_tune", "neighbours": "own_images"}
"""Words that a reader looks for, and the guide whose headings hold them."""
ELSEWHERE = {page.name for page in DOCS.glob("add_a_*.md")}
"""Pages whose blocks have a test of their own, tests/test_how_to.py."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "docs_runner.py"), *(str(DOCS / page) for page in PAGES)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def test_no_page_with_blocks_is_left_out() -> None:
    with_blocks = {page.name for page in DOCS.glob("*.md") if re.search(r"^```(bash|python)", page.read_text(), re.M)}
    assert with_blocks <= {*PAGES, *ELSEWHERE}


def test_the_recipe_reference_is_current(script: Callable[[Path], ModuleType]) -> None:
    made = script(DOCS / "tools" / "recipe_reference.py").page()
    assert (DOCS / "recipes.md").read_text(encoding="utf-8") == made, "run python docs/tools/recipe_reference.py"


def test_the_table_of_pixels_is_current(script: Callable[[Path], ModuleType]) -> None:
    made = script(DOCS / "tools" / "pixel_table.py").page()
    assert (DOCS / "pixels.md").read_text(encoding="utf-8") == made, "run python docs/tools/pixel_table.py"


def test_every_linked_file_exists() -> None:
    missing = [
        f"{page.name}: {link}"
        for page in DOCS.rglob("*.md")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert not missing


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: pip install 'unlabeled[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:[^\"> ]+)|<link[^>]*stylesheet[^>]*href=\"?(https?:)"
    )
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not fetched.search(text), page
        assert not re.search(r":(attr|class|data|func|meth|mod):<", text), page
    entries = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    for word, guide in SEARCHED.items():
        titles = [entry["title"].lower() for entry in entries if entry["location"].startswith(f"{guide}/")]
        assert any(word in title for title in titles), f"a search for '{word}' does not lead to {guide}"
    methods = (tmp_path / "methods" / "index.html").read_text(encoding="utf-8")
    assert methods.count("<math") > 20
    assert "arithmatex" not in methods
