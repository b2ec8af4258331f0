"""Thousands of mutated recipes: every one accepted or refused in a line, none with a traceback, none hangs.

python benchmarks/fuzz.py --examples 6000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from _results import machine, save, section

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "hostile"))

from mutations import SECONDS, fuzz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="add to what earlier calls with other seeds found")
    options = parser.parse_args()
    start = time.monotonic()
    verdicts = fuzz(options.examples, options.seed)
    seconds, seeds = time.monotonic() - start, [options.seed]
    if options.add:
        before = json.loads((Path(__file__).parent / "results" / "fuzz.json").read_text())
        if options.seed in before["seeds"]:
            parser.error("that seed was counted already")
        seconds, seeds = seconds + before["seconds"], [*before["seeds"], options.seed]
        verdicts.update(before["verdicts"])
    total = verdicts.total()
    line = f"{total:,} mutated recipes: {verdicts['accepted']:,} accepted, {verdicts['refused']:,} refused in one line"
    section(
        "fuzz",
        f"""## Mutated recipes

`python benchmarks/fuzz.py --add --seed …`, seeds {seeds[0]} to {seeds[-1]}, on {machine()}; {seconds:.0f} s.

**{line}**; no traceback, none over {SECONDS} s. Built-in recipes with keys and values dropped, renamed and replaced at
any depth, characters of the file changed, and random overrides; an accepted one must read back as the same recipe.""",
    )
    save("fuzz", {"seeds": seeds, "examples": total, "seconds": seconds, "verdicts": verdicts})
    print(line)


if __name__ == "__main__":
    main()
