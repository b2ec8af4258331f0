"""Same seed, same weights in another environment: a run of this one, repeated there by ``unlabeled rerun``.

python -m venv /tmp/other && /tmp/other/bin/pip install .
python benchmarks/reproduce.py /tmp/other/bin/python
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _results import machine, save, section

RECIPES = ("simclr", "swav", "mae")
SETTINGS = ("epochs=1", "seed=3", "health.every=0", "output.logger=none", "hardware.threads=1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("python", help="the interpreter of the other environment, with unlabeled installed")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options = parser.parse_args()
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as home:

        def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            cache = Path(home) / Path(python).parent.parent.name
            return subprocess.run(
                [python, "-W", "ignore", "-m", "unlabeled", *arguments], cwd=home, capture_output=True, text=True,
                env={**os.environ, "UNLABELED_CACHE": str(cache)}, check=False,
            )  # fmt: skip

        for name in options.recipes.split(","):
            first = run(sys.executable, "pretrain", name, "data=fashion-mini", *SETTINGS, "--out", name)
            if first.returncode:
                sys.exit(first.stderr)
            second = run(options.python, "rerun", name)
            if not second.stdout:
                sys.exit(second.stderr)
            said[name] = second.stdout.strip().splitlines()[-1]
            print(second.stdout)
    rows = "\n".join(f"| {name} | {verdict} |" for name, verdict in said.items())
    section(
        "reproduce",
        f"""## Same seed, same weights, in two environments

`python benchmarks/reproduce.py OTHER/bin/python` on {machine()}. Each recipe (fashion-mini, one epoch) ran in this
environment, and was repeated in a second virtual environment from the run's folder by `unlabeled rerun`; the weights
are compared by SHA-256.

| recipe | `unlabeled rerun` says |
|---|---|
{rows}""",
    )
    save("reproduce", said)
    sys.exit(any(verdict != "identical, bit for bit" for verdict in said.values()))


if __name__ == "__main__":
    main()
