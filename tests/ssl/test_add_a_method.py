"""docs/add_a_method.md, carried out word for word in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add_a_method.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}(?: title=\"(.+?)\")?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def patch(text, diff):
    """Apply a block of context and added lines at the only place where the context stands."""
    lines = diff.splitlines()
    context = "\n".join(line[1:] for line in lines if line.startswith(" "))
    result = "\n".join(line[1:] for line in lines)
    assert text.count(context) == 1, context
    return text.replace(context, result)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "unlabeled", folder / "unlabeled", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests" / "ssl").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tests" / "ssl" / "conftest.py", folder / "tests" / "ssl")
    for language in ("python", "yaml"):
        for title, text in blocks(language):
            assert not (folder / title).exists(), "the page adds files, it replaces none"
            (folder / title).write_text(text)
    methods = folder / "unlabeled" / "ssl" / "methods.py"
    for _, diff in blocks("diff"):
        methods.write_text(patch(methods.read_text(), diff))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_page_runs(checkout):
    ((_, commands),) = blocks("sh")
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
    assert (checkout / "runs" / "first" / "backbone" / "model.safetensors").is_file()
    assert "temperature: 0.2" in (checkout / "runs" / "first" / "recipe.yaml").read_text()


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"]])
def test_the_pages_code_meets_the_projects_style(checkout, tool):
    pytest.importorskip("ruff")
    files = [title for title, _ in blocks("python")]
    done = subprocess.run(
        [sys.executable, "-m", *tool, *files], cwd=checkout, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_hooks_that_exist():
    from unlabeled.ssl.method import Method

    names = re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE)
    assert len(names) == 10
    assert all(hasattr(Method, name) for name in names)
