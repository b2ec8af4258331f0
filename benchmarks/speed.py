"""Steps, epochs, extraction, growth and probes as ratios, written into RESULTS.md.

    python benchmarks/speed.py [step epoch extract growth probes] [--rounds 7]

What is measured, and how, stands in unlabeled/bench/ (`unlabeled bench` prints the same) and, for the epoch, in
_epoch.py, which needs the peer: pip install 'unlabeled[peers]'.
"""

from __future__ import annotations

import argparse
import importlib
import warnings
from typing import Any

from _results import machine, save, section

from unlabeled.core.progress import set_quiet

TITLES = {
    "step": "A step against the bare model",
    "epoch": "A pretraining epoch against lightly + Lightning",
    "extract": "Feature extraction against the bare forward pass",
    "growth": "From 10,000 to 1,000,000 images",
    "probes": "Probes against their floors",
}


def measurement(name: str) -> Any:
    """The module that measures."""
    return importlib.import_module("_epoch" if name == "epoch" else f"unlabeled.bench.{name}")


def write(name: str, lines: list[str], conditions: str = "") -> None:
    """Replace a section of RESULTS.md."""
    about = measurement(name).__doc__.strip()
    command = f"`python benchmarks/speed.py {name}` on {machine()}. {conditions}".strip()
    section(f"speed-{name}", "\n\n".join([f"## {TITLES[name]}", command, about, "\n".join(lines)]))
    save(f"speed-{name}", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(TITLES), help=", ".join(TITLES))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    set_quiet(True)
    for name in options.names:
        lines = []
        for line in measurement(name).lines(options.rounds):
            print(line, flush=True)
            lines.append(line)
        write(name, lines)


if __name__ == "__main__":
    main()
