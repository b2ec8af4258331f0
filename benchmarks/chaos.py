"""Kill real runs (SIGKILL) at random instants, resume them, compare with undisturbed ones: "N of N survived".

    python benchmarks/chaos.py --kills 60

Half of the kills come at a random time, half before a random operation on the file system (a rename, a file opened
for writing, …). Some runs are killed again while they resume. A kill is survived if every file under a final name is
whole after it, and if the resumed run ends with the same weights and tables, bit for bit, and leaves no litter.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _results import machine, save, section

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "chaos"))

from harness import Trial, Whole, Zygote, scenarios, trial, undisturbed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60, help="how many at least")
    parser.add_argument("--seconds", type=float, default=3600, help="end after this time in any case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="add to what earlier calls with other seeds found")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that did not survive")
    parser.add_argument("--first", type=int, default=0, help="with which scenario to begin")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    dice, start = random.Random(options.seed), time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="unlabeled-chaos-"))
    zygote = Zygote()
    chosen = [s for s in scenarios(work / "stage", zygote).values() if options.only in s.name]
    wholes: dict[str, Whole] = {}
    trials: list[Trial] = []
    while sum(len(t.kills) for t in trials) < options.kills and time.monotonic() - start < options.seconds:
        scenario = chosen[(options.first + len(trials)) % len(chosen)]
        home = work / f"trial-{len(trials)}"
        if scenario.name not in wholes:
            wholes[scenario.name] = undisturbed(zygote, scenario, work / "whole" / scenario.name.replace(" ", "-"))
        found = trial(zygote, scenario, wholes[scenario.name], home, dice)
        trials.append(found)
        print(
            f"{scenario.name:24} killed {', '.join(found.kills) or 'never'}: {found.problem or 'survived'}", flush=True
        )
        if not (found.problem and options.keep):
            shutil.rmtree(home)
    zygote.close()
    if not options.keep:
        shutil.rmtree(work)
    seeds, seconds = [options.seed], time.monotonic() - start
    if options.add:
        before = json.loads((Path(__file__).parent / "results" / "chaos.json").read_text())
        if options.seed in before["seeds"]:
            parser.error("that seed was counted already")
        trials = [*(Trial(**t) for t in before["trials"]), *trials]
        seeds, seconds = [*before["seeds"], options.seed], seconds + before["seconds"]
    kills = sum(len(t.kills) for t in trials)
    survived = sum(len(t.kills) for t in trials if not t.problem)
    line = f"{survived} of {kills} survived"
    if not options.dry:
        write(trials, line, seeds, seconds)
    print(line)
    sys.exit(survived != kills)


def write(trials: list[Trial], line: str, seeds: list[int], seconds: float) -> None:
    """The section of RESULTS.md."""
    kills = Counter(t.scenario for t in trials for _ in t.kills)
    survived = Counter(t.scenario for t in trials for _ in t.kills if not t.problem)
    timed = sum("at " in kill for t in trials for kill in t.kills)
    again = sum(len(t.kills) > 1 for t in trials)
    rows = "\n".join(f"| {name} | {kills[name]} | {survived[name]} |" for name in kills)
    section(
        "chaos",
        f"""## Crash safety: real runs, killed

`python benchmarks/chaos.py --add --seed …`, seeds {seeds[0]} to {seeds[-1]}, on {machine()}; {seconds:.0f} s.

**{line}** (closing line of the run)

| what was killed with SIGKILL | kills | survived |
|---|---:|---:|
{rows}

{timed} kills at a random time of the run, {kills.total() - timed} just before a random operation on the file system;
{again} runs were killed again while they resumed. Survived: after every kill each file under a final name is whole, and
the resumed run ends with the undisturbed run's weights (SHA-256 of every safetensors file) and tables (metrics, probe,
fine-tuning and forgetting figures, without timings), and without leftovers. Images are decoded, and G-SimCLR's
autoencoder and the comparison's retrained model are trained, within the killed runs.""",
    )
    save("chaos", {"line": line, "seeds": seeds, "seconds": seconds, "trials": [vars(t) for t in trials]})


if __name__ == "__main__":
    main()
