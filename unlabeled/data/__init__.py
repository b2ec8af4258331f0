"""Open a data set, keep its pixels decoded, draw views of it. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlabeled.data.catalog import DataEntry as DataEntry
    from unlabeled.data.catalog import list_data as list_data
    from unlabeled.data.catalog import open_data as open_data
    from unlabeled.data.images import BadFile as BadFile
    from unlabeled.data.images import ImageSet as ImageSet
    from unlabeled.data.rows import holdout as holdout
    from unlabeled.data.spec import ViewSpec as ViewSpec
    from unlabeled.data.views import Views as Views

_HOMES = {
    "DataEntry": "catalog", "list_data": "catalog", "open_data": "catalog",
    "BadFile": "images", "ImageSet": "images", "holdout": "rows",
    "ViewSpec": "spec", "Views": "views",
}  # fmt: skip

__all__ = ["BadFile", "DataEntry", "ImageSet", "ViewSpec", "Views", "holdout", "list_data", "open_data"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
