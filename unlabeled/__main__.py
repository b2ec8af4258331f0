"""``unlabeled`` and ``python -m unlabeled``: the way into the command line, which a minimal installation lacks."""

from __future__ import annotations

import sys

from unlabeled.core.extras import MissingPackage, part


def console() -> None:
    """Run the command line, or say in one line which package is missing."""
    try:
        app = part("unlabeled.cli.app")
    except MissingPackage as error:
        print(f"unlabeled: {error}", file=sys.stderr)
        sys.exit(2)
    app.console()


if __name__ == "__main__":
    console()
