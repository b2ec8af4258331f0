"""What the verbs that write SLURM scripts ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unlabeled.runs.slurm import Resources

Nodes = Annotated[int, typer.Option(min=1, help="hosts")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of each host, a process each; 0: none")]
Processes = Annotated[int, typer.Option(min=1, help="processes on each host without GPUs")]
Cpus = Annotated[int, typer.Option(min=1, help="CPUs of each process")]
Time = Annotated[str, typer.Option(help="after which the job saves, and comes back for another turn")]
More = Annotated[
    list[str] | None, typer.Option("--sbatch", metavar="OPTION", help="more for sbatch: --sbatch=--partition=long")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="write the script, submit nothing")]


def resources(nodes: int, gpus: int, processes: int, cpus: int, time: str, more: list[str] | None) -> Resources:
    """The options together, checked."""
    from unlabeled.runs.slurm import Resources

    return Resources(nodes, gpus, processes, cpus, time, tuple(more or ()))
