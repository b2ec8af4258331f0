"""Many processes at once on one pixel store and one feature cache, some killed, the files spoilt now and then.

python benchmarks/locks.py --processes 8 --rounds 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from _results import machine, save, section

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "chaos"))

from harness import stress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = stress(Path(folder), options.processes, options.rounds, options.seed)
    total, kinds = options.processes * options.rounds, len(set(seen))
    line = f"{len(seen)} processes got the data and features ({total - len(seen)} were killed first): {kinds} result"
    section(
        "locks",
        f"""## Many processes, one store, one cache

`python benchmarks/locks.py --processes {options.processes} --rounds {options.rounds}` on {machine()};
{time.monotonic() - start:.0f} s.

**{line}{"s" * (kinds != 1)}**. In each of {options.rounds} rounds {options.processes} processes open one pixel
store and extract into one feature cache; before it, store or cache may be removed, cut or without manifests; one
process is killed.""",
    )
    save("locks", {**vars(options), "results": len(seen), "different": kinds})
    print(line)
    sys.exit(kinds != 1)


if __name__ == "__main__":
    main()
