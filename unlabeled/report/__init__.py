"""Pictures, tables and the HTML page about runs. Takes plain data; everything is imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Atlas": "content",
    "Cell": "content",
    "Confusion": "content",
    "Forgetting": "content",
    "Gallery": "content",
    "Picture": "content",
    "Projection": "content",
    "RunContent": "content",
    "markdown": "tables",
    "mosaic": "pixels",
    "page": "document",
    "probe_chart": "figures",
    "probe_rows": "tables",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
