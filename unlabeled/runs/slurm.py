"""Scripts for SLURM: what a job asks for, how it saves before it is stopped and comes back, and how it is submitted."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlabeled.core.errors import UserError, first_line
from unlabeled.core.files import atomic_write_text
from unlabeled.core.progress import say

WARNING = 120
"""Seconds before the end of its time at which a job is told, saves, and asks to come back."""
TIME = re.compile(r"\d+(:\d\d){0,2}|\d+-\d\d?(:\d\d){0,2}")
WAIT = """\
again= told=
stop() { told=yes; if [ -n "$!" ]; then kill -TERM "$!" 2>/dev/null; fi; }
trap 'again=yes; stop' USR1   # its time is nearly over: save, and come back
trap stop TERM                # pre-empted or cancelled: save; SLURM brings a pre-empted job back by itself
"""
ENDING = """\
while :; do
    wait "$!"; code=$?
    [ -n "$told" ] || break   # a signal ends the waiting, not the step
    told=
done
# 2 is an error that the next attempt would meet again
if [ -n "$again" ] && [ "$code" -ne 0 ] && [ "$code" -ne 2 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class Resources:
    """What a job asks for.

    Attributes:
        nodes: hosts.
        gpus: of each host; a process each.
        processes: on each host, where there are no GPUs.
        cpus: of each process.
        time: after which SLURM ends the job, which goes on in its next turn.
        more: further options of sbatch, each like ``--partition=long``.
    """

    nodes: int = 1
    gpus: int = 1
    processes: int = 1
    cpus: int = 8
    time: str = "24:00:00"
    more: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not TIME.fullmatch(self.time):
            raise UserError(
                f"--time {self.time} is no time that SLURM knows; write 24:00:00, or 2-12 for days and hours."
            )
        if self.gpus and self.processes > 1:
            raise UserError("--processes is for hosts without GPUs (--gpus 0); with them every GPU has one process.")
        wrong = next((option for option in self.more if not re.fullmatch(r"--[a-z][^\s]*", option)), None)
        if wrong is not None:
            raise UserError(f"--sbatch '{wrong}' is no option of sbatch; write --sbatch=--partition=NAME.")

    @property
    def per_host(self) -> int:
        """Processes on each host."""
        return self.gpus or self.processes


def script(name: str, words: Sequence[str], log: Path, ask: Resources, array: int = 0) -> str:
    """The text of a job that runs ``unlabeled`` with ``words``, saves in time, and comes back until it is done.

    Args:
        name: of the job.
        words: the verb and its arguments; it must go on where it stopped when it is started again.
        log: where its output goes (sbatch's ``%j`` stands for the job's number).
        ask: what it needs.
        array: so many tasks, each of which gets ``--only`` and its number.
    """
    if any(not text.isprintable() for text in (name, *words, str(log), str(Path.cwd()))):
        raise UserError("a path or setting holds a line break or another control character; SLURM cannot take it.")
    asked = [f"--job-name={''.join(c if c.isalnum() or c in '-_.' else '-' for c in name)}", f"--nodes={ask.nodes}"]
    asked += [f"--ntasks-per-node={ask.per_host}", f"--cpus-per-task={ask.cpus}", f"--time={ask.time}"]
    asked += [f"--gpus-per-node={ask.gpus}"] if ask.gpus else []
    asked += [f"--array=0-{array - 1}"] if array else []
    asked += [f"--chdir={_quoted(str(Path.cwd()))}", f"--output={_quoted(str(log))}", "--open-mode=append"]
    asked += ["--requeue", f"--signal=B:USR1@{WARNING}", *ask.more]
    program = shlex.join([sys.executable, "-m", "unlabeled", *words]) + (' --only "$SLURM_ARRAY_TASK_ID"' * bool(array))
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in asked),
            f"export OMP_NUM_THREADS={ask.cpus} SRUN_CPUS_PER_TASK={ask.cpus}   # srun does not inherit the latter",
            WAIT + f"srun --kill-on-bad-exit=1 {program} &",
            ENDING,
        ]
    )


def _quoted(text: str) -> str:
    """A value that sbatch reads as it stands."""
    return f'"{text}"' if re.search(r"[\s']", text) else text


def submit(path: Path, text: str, *, really: bool = True) -> str:
    """Write a script and hand it to ``sbatch`` where there is one; say in a line what became of it.

    Raises:
        UserError: the script cannot be written, or SLURM does not take it.
    """
    atomic_write_text(path, text)
    by_hand = shlex.join(["sbatch", str(path)])
    if not really:
        return f"written, not submitted: {by_hand}"
    if shutil.which("sbatch") is None:
        say("there is no sbatch on this machine")
        return f"written; submit it where SLURM is: {by_hand}"
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = first_line(OSError(done.stderr or f"exit code {done.returncode}"))
        raise UserError(f"sbatch did not take {path} ({said}); change it there or by --sbatch=…, then: {by_hand}")
    return f"submitted as job {done.stdout.strip().partition(';')[0]}: {path}"
