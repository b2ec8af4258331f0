"""Two SimCLR views per image: `unlabeled` against torchvision on PIL, lightly and kornia, on this machine.

    python benchmarks/views.py [--rounds 7] [--only 32 96 224]

What is measured, and how, stands in _views.py. It needs the peers: pip install 'unlabeled[peers]'.
"""

from __future__ import annotations

import argparse
import os
import warnings

from _results import machine, save, section
from _views import CASES, FINE_PRINT, measure, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender is timed (at least 5)")
    parser.add_argument("--only", type=int, nargs="+", choices=CASES, default=list(CASES), help="sides in pixels")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    tables, figures = [], {}
    for size in arguments.only:
        turns = measure(CASES[size], arguments.rounds)
        figures[str(size)] = turns.taken
        tables.append(table(CASES[size], turns))
        print(tables[-1], end="\n\n", flush=True)
    if set(arguments.only) == set(CASES):
        note = f"{machine()}. `python benchmarks/views.py --rounds {arguments.rounds}`; load {os.getloadavg()[0]:.1f}."
        section("views", "## Views\n\n" + "\n\n".join([note, *tables, FINE_PRINT]))
        save("views", figures)


if __name__ == "__main__":
    main()
