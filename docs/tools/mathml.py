"""What MkDocs leaves to be done: formulas as MathML, which browsers draw without script, font or network; roles."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code|<a)")
"""What docstrings say of a name for other tools; a reader of the page needs the name alone."""
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def formula(latex: str, display: str) -> str:
    """One formula; a command that the converter does not know must not reach the page as text."""
    made = convert(html.unescape(latex.strip()), display=display)
    if "\\" in made:
        raise ValueError(f"the formula {latex.strip()!r} has a command that cannot be drawn")
    return made


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of every page."""
    content = BLOCK.sub(lambda found: formula(found[1], "block"), content)
    content = INLINE.sub(lambda found: formula(found[1], "inline"), content)
    return ROLE.sub("", content)
