"""Packages that not every installation has: each is named in one line, with what installs it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from unlabeled.core.errors import UserError


class MissingPackage(UserError, ImportError):
    """A package is not installed. Also an ``ImportError``, as ``import``'s callers expect."""


def extra(module: str, extra: str, what: str) -> ModuleType:
    """Import a package that an extra of this one installs.

    Args:
        module: what to import.
        extra: the extra that brings it.
        what: what needs it, as the user calls it.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{what} needs the package '{error.name}', which is not installed: pip install 'unlabeled[{extra}]'."
        ) from error


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Within it, a package that only the whole installation has is named where it is missing.

    Args:
        what: what is about to be imported or run.

    Raises:
        MissingPackage: a package of other people is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "unlabeled").partition(".")[0] == "unlabeled":
            raise
        raise MissingPackage(
            f"{what} needs the package '{error.name}', which this minimal installation lacks: pip install unlabeled."
        ) from error


def part(module: str) -> ModuleType:
    """Import a part of this package.

    Raises:
        MissingPackage: a package that it needs is not installed.
    """
    with whole(module):
        return importlib.import_module(module)
