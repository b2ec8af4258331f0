"""Write a benchmark's section of RESULTS.md in place, and say what machine it ran on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from unlabeled.bench.timing import machine

__all__ = ["HERE", "PAGE", "machine", "save", "section"]

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"


def section(name: str, markdown: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- /name -->`` in RESULTS.md, or append it."""
    block = f"<!-- {name} -->\n{markdown.strip()}\n<!-- /{name} -->"
    page = PAGE.read_text() if PAGE.exists() else "# Results\n"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- /{re.escape(name)} -->", re.DOTALL)
    page = pattern.sub(lambda _: block, page) if pattern.search(page) else f"{page.rstrip()}\n\n{block}\n"
    PAGE.write_text(page)


def save(name: str, value: Any) -> None:
    """Keep a benchmark's raw figures beside the page."""
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
