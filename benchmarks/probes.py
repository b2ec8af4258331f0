"""Probes against their peers, in the same run on the same features.

    python benchmarks/probes.py --size small|medium|full [--only knn,linear,closed,logistic,suite,memory] [--threads 1]

Times are CPU seconds of this process (``--clock cpu``, steady on a shared machine) or wall seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from _probe_costs import bench_memory, bench_suite, child
from _probe_data import SIZES, use_clock
from _probe_peers import bench_closed, bench_knn, bench_linear, bench_logistic
from _results import HERE, machine, save, section
from threadpoolctl import threadpool_limits

from unlabeled.core.progress import set_quiet

PARTS = {
    "knn": bench_knn,
    "linear": bench_linear,
    "closed": bench_closed,
    "logistic": bench_logistic,
    "suite": bench_suite,
    "memory": bench_memory,
}


def markdown(found: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The section of RESULTS.md."""
    lines = [
        "## Probes",
        f"`python benchmarks/probes.py --size {arguments.size} --threads {arguments.threads} --clock {arguments.clock}`"
        f" on {machine()}. Times in {'CPU' if arguments.clock == 'cpu' else 'wall'} seconds.",
        "",
        "| bank x test, D, C | what | figure |",
        "|---|---|---:|",
    ]
    for size, parts in found.items():
        for part, figures in parts.items():
            lines += [f"| {size} | {part}: {name.replace('_', ' ')} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join([*lines, (HERE / "_probe_notes.md").read_text()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--keep", action="store_true", help="keep the figures of earlier runs that this one leaves out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--dim", type=int, default=512, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    set_quiet(True)
    warnings.simplefilter("ignore")
    if arguments.child:
        child(arguments.child, arguments.rows, arguments.dim)
        return
    use_clock(arguments.clock)
    kept = HERE / "results" / "probes.json"
    found: dict[str, Any] = json.loads(kept.read_text())["figures"] if arguments.keep and kept.exists() else {}
    for size in SIZES[arguments.size]:
        name = f"{size.bank:,} x {size.test:,}, {size.dim}, {size.classes}"
        for part in arguments.only.split(","):
            if part in ("suite", "memory") and size is not SIZES[arguments.size][0]:
                continue  # these do not depend on the number of classes: the first size says it
            found.setdefault(name, {})[part] = PARTS[part](size)
            print(name, part, found[name][part], flush=True)
            save("probes", {"machine": machine(), "arguments": vars(arguments), "figures": found})
            section("probes", markdown(found, arguments))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
