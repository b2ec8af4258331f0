"""The public names are what they say, in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys

import unlabeled


def test_every_public_name_resolves_to_a_callable_in_a_fresh_process() -> None:
    program = (
        "import unlabeled, unlabeled.verbs.forget, unlabeled.verbs.pretrain\n"
        "names = [n for n in unlabeled.__all__ if n != '__version__']\n"
        "assert all(callable(getattr(unlabeled, n)) for n in names)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    assert set(unlabeled.__all__) <= set(dir(unlabeled))
