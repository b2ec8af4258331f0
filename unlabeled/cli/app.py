"""The entry point of the command line: exit codes, signals, and one line for every failure."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from unlabeled.cli import commands  # noqa: F401  (adds the verbs to the application)
from unlabeled.cli.encoding import settle_encoding
from unlabeled.cli.options import app
from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.core.extras import whole
from unlabeled.core.launch import ERRORS, launched, leads
from unlabeled.core.threads import settle_threads

__all__ = ["app", "console", "main"]

settle_threads()  # of this process and those it starts; torch is not imported yet


def console() -> None:
    """:func:`main` in a process of its own, which is left at once when it was interrupted."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.__context__, Interrupted):
            # everything is saved, and tearing down torch takes a busy machine seconds
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
        raise


def main() -> None:
    """Run the command line: exit 0 when done, 1 when it did not finish, 2 when the user can mend it."""
    settle_encoding()
    signal.signal(signal.SIGTERM, _stop)
    try:
        with whole("this command"):
            app()
    except UserError as error:
        _fail(error, 2)
    except (Interrupted, Diverged) as error:
        _fail(error, 1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        from unlabeled.core.files import refusal

        said = refusal(error)
        if said is None:
            raise
        _fail(UserError(said), 2)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt(" by SIGTERM")


def _fail(error: Exception, code: int) -> None:
    message, place, folder = " ".join(str(error).split()), launched(), os.environ.get(ERRORS)
    if place is not None and folder:  # the process that started this one says it, once for all ranks
        from unlabeled.core.files import atomic_write_json

        atomic_write_json(Path(folder) / str(place.rank), {"kind": type(error).__name__, "message": message})
    else:
        print(
            f"unlabeled: {message}" if leads() else f"unlabeled, rank {place and place.rank}: {message}",
            file=sys.stderr,
        )
    sys.exit(code)
