"""What a whole training step costs over the bare backbone, head, loss and optimiser on ready-made views: one ratio.

    python benchmarks/step_overhead.py [RECIPE] [--rounds 7]

The table of all recipes is `unlabeled bench step`; both measure with unlabeled/bench/step.py.
"""

from __future__ import annotations

import argparse
import warnings

from _results import machine

from unlabeled.bench.step import CASES, HEAD, measure, row
from unlabeled.core.progress import set_quiet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="simclr", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    set_quiet(True)
    turns = measure(options.recipe, options.rounds)
    print(f"{machine()}\n\n{HEAD}\n{row(options.recipe, turns)}")


if __name__ == "__main__":
    main()
