"""Who started this process: nobody, torchrun, SLURM's srun, or ``hardware.devices``. Read from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

ERRORS = "UNLABELED_RANK_ERRORS"
"""Names the folder in which the ranks that ``hardware.devices`` started leave their errors, one file a rank."""


@dataclass(frozen=True)
class Launch:
    """This process's place among those that were started together."""

    rank: int
    world: int
    local_rank: int
    """Number on its host; also the number of its GPU."""
    local_world: int
    """Processes on its host."""
    address: str
    """Where rank 0 listens."""
    port: int


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """The place of this process, or ``None`` if it was started alone.

    torchrun (and ``hardware.devices``) set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT;
    srun sets SLURM_PROCID and its like for every task of a step, and says nothing of where rank 0 listens: that is
    the step's first host, at a port that follows from the job's number.
    """
    env = os.environ if environment is None else environment
    if int(env.get("WORLD_SIZE") or 1) > 1 and "RANK" in env:
        world, rank = int(env["WORLD_SIZE"]), int(env["RANK"])
        return Launch(
            rank,
            world,
            int(env.get("LOCAL_RANK") or 0),
            int(env.get("LOCAL_WORLD_SIZE") or world),
            env.get("MASTER_ADDR") or "127.0.0.1",
            int(env.get("MASTER_PORT") or 29500),
        )
    if int(env.get("SLURM_STEP_NUM_TASKS") or 1) > 1 and "SLURM_PROCID" in env:
        world = int(env["SLURM_STEP_NUM_TASKS"])
        hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or "127.0.0.1"
        return Launch(
            int(env["SLURM_PROCID"]),
            world,
            int(env.get("SLURM_LOCALID") or 0),
            world // int(env.get("SLURM_STEP_NUM_NODES") or 1),
            env.get("MASTER_ADDR") or first_host(hosts),
            int(env.get("MASTER_PORT") or 20_000 + int(env.get("SLURM_JOB_ID") or 0) % 20_000),
        )
    return None


def leads() -> bool:
    """Whether this process writes the files and prints the results: rank 0, or one that was started alone."""
    place = launched()
    return place is None or place.rank == 0


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list.

    >>> [first_host(nodes) for nodes in ("gpu7", "gpu[003-010,12],big1", "rack1-n[2,5]")]
    ['gpu7', 'gpu003', 'rack1-n2']
    """
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", re.split(r",(?![^\[]*\])", nodes)[0])
