"""Steps, epochs, extraction, growth and probes as ratios; what `unlabeled bench` prints, written into RESULTS.md.

    python benchmarks/speed.py [step epoch extract growth probes] [--rounds 7]

What is measured, and how, stands in unlabeled/bench/.
"""

from __future__ import annotations

import argparse
import importlib
import warnings

from _results import machine, save, section

from unlabeled.core.progress import set_quiet

TITLES = {
    "step": "A step against the bare model",
    "epoch": "A pretraining epoch against lightly + Lightning",
    "extract": "Feature extraction against the bare forward pass",
    "growth": "From 10,000 to 1,000,000 images",
    "probes": "Probes against their floors",
}


def write(name: str, lines: list[str], conditions: str = "") -> None:
    """Replace a section of RESULTS.md."""
    about = importlib.import_module(f"unlabeled.bench.{name}").__doc__.strip()
    command = f"`unlabeled bench {name}` on {machine()}. {conditions}".strip()
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
        for line in importlib.import_module(f"unlabeled.bench.{name}").lines(options.rounds):
            print(line, flush=True)
            lines.append(line)
        write(name, lines)


if __name__ == "__main__":
    main()
