"""Scripts for SLURM are run by a bash whose sbatch, srun and scontrol act as SLURM's do."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlabeled.core.errors import UserError
from unlabeled.runs.folder import Run
from unlabeled.runs.slurm import Resources, script, submit
from unlabeled.verbs.launch import launch, launch_sweep

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SLURM needs Linux")
COMMANDS = {
    "sbatch": 'for last; do :; done; bash -n "$last" || exit 1; grep -q partition=gone "$last" && {\n'
    '  echo "sbatch: error: invalid partition specified: gone" >&2; exit 1; }\necho "17;cluster"',
    "srun": 'shift; trap "told=yes; kill -TERM \\$!" TERM; "$@" &\n'
    'while :; do wait $!; code=$?; [ -n "$told" ] || exit $code; told=; done',
    "scontrol": 'echo "$@" >> requeued',
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and SLURM's commands on the PATH."""
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["bash", "-c", text], stderr=subprocess.DEVNULL)


def test_a_job_is_written_checked_and_submitted(cluster: Path) -> None:
    ask = Resources(nodes=2, gpus=4, cpus=6, time="2-12", more=("--partition=long",))
    said = launch("simclr", ["epochs=3"], Path("my runs/a"), ask=ask)
    assert said == "submitted as job 17: my runs/a.sbatch"
    text = (cluster / "my runs" / "a.sbatch").read_text()
    for line in ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6", "time=2-12", "requeue",
                 "partition=long", "signal=B:USR1@120", 'output="my runs/a-%j.log"'):  # fmt: skip
        assert f"#SBATCH --{line}\n" in text
    command = next(line for line in text.splitlines() if line.startswith("srun"))
    words = ["-m", "unlabeled", "pretrain", "simclr", "epochs=3", "--out", "my runs/a", "--resume", "&"]
    assert shlex.split(command)[3:] == words
    assert not (cluster / "my runs" / "a").exists()


def test_an_array_has_a_task_a_run(cluster: Path) -> None:
    ask = Resources(gpus=0, processes=1)
    said = launch_sweep("simclr", ["optimizer.lr=0.1,0.3", "seed=0..2"], Path("s"), by="knn", ask=ask, really=False)
    assert said == "written, not submitted: sbatch s.sbatch"
    text = (cluster / "s.sbatch").read_text()
    assert "#SBATCH --array=0-5\n" in text
    assert "#SBATCH --output=s-%A_%a.log\n" in text
    assert "gpus-per-node" not in text
    assert '--by knn --only "$SLURM_ARRAY_TASK_ID" &' in text
    assert subprocess.run(["bash", "-n", "s.sbatch"], check=False).returncode == 0


def test_what_slurm_does_not_take_and_where_there_is_none(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = script("a", ["pretrain"], Path("a.log"), Resources(more=("--partition=gone",)))
    with pytest.raises(UserError, match=r"invalid partition specified: gone\).*sbatch a.sbatch"):
        submit(Path("a.sbatch"), text)
    monkeypatch.setenv("PATH", "/nowhere")
    assert submit(Path("a.sbatch"), text) == "written; submit it where SLURM is: sbatch a.sbatch"
    with pytest.raises(UserError, match="control character"):
        script("a", ["pretrain", "data=a\nb"], Path("a.log"), Resources())


STEPS = {
    "saves and is to go on": ("trap 'exit 1' TERM; touch ready; sleep 60 & wait", signal.SIGUSR1, 1, True),
    "had just finished": ("trap 'exit 0' TERM; touch ready; sleep 60 & wait", signal.SIGUSR1, 0, False),
    "has a mistake in it": ("trap 'exit 2' TERM; touch ready; sleep 60 & wait", signal.SIGUSR1, 2, False),
    "is cancelled": ("trap 'exit 1' TERM; touch ready; sleep 60 & wait", signal.SIGTERM, 1, False),
    "diverges by itself": ("touch ready; exit 1", None, 1, False),
}


@pytest.mark.parametrize("what", STEPS)
def test_a_job_comes_back_only_where_that_helps(what: str, cluster: Path) -> None:
    step, number, code, again = STEPS[what]
    text = script("a", ["pretrain"], Path("a.log"), Resources())
    command = next(line for line in text.splitlines() if line.startswith("srun"))
    job = started(text.replace(command, f"srun --kill-on-bad-exit=1 bash -c {shlex.quote(step)} &"))
    wait_for(cluster / "ready")
    if number is not None:
        job.send_signal(number)
    assert job.wait(30) == code
    assert (cluster / "requeued").exists() == again


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_job_that_is_told_to_stop_ends_in_a_finished_run(cluster: Path, cli: Callable[..., Any]) -> None:
    narrow = "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}"
    settings = ["data=noise:512", "data.size=8", "batch_size=64", "epochs=40", "health.every=0", narrow]
    launch("rotation", [*settings, "output.save_seconds=0"], Path("run"), ask=Resources(gpus=0, cpus=1))
    text, run = (cluster / "run.sbatch").read_text(), Run("run")
    job = started(text)
    wait_for(run.checkpoint)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(60) == 1
    assert not run.finished()
    assert (cluster / "requeued").read_text() == "requeue 17\n"
    command = next(line for line in text.splitlines() if line.startswith("srun"))
    code, _, err = cli(*shlex.split(command)[5:-1], "-q")  # what the job does in its next turn
    assert code == 0, err
    assert run.finished()
