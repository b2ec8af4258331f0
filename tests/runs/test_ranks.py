"""Several processes through the command line: same weights as one, one writer, clear ends, exact goings-on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from unlabeled.core.launch import Launch, first_host, launched
from unlabeled.core.progress import set_quiet
from unlabeled.verbs.pretrain import pretrain

SETTINGS = (
    "data=npz:images.npz", "batch_size=32", "optimizer.lr=0.001", "health.every=0", "output.logger=none",
    "hardware.precision=32-true", "backbone.args.channels=[8,8,16,16]", "output.log_every=1",
    "hardware.accelerator=cpu",
)  # fmt: skip
UNLABELED = [sys.executable, "-W", "ignore", "-m", "unlabeled"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw = np.random.default_rng(0)
    labels = np.arange(192) % 3
    pixels = draw.integers(0, 120, (192, 16, 16, 1)) + 60 * labels[:, None, None, None]
    np.savez(tmp_path / "images.npz", images=pixels.astype(np.uint8), labels=labels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def weights(run: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "backbone" / "model.safetensors")


def assert_same(one: str | Path, two: str | Path, tolerance: float) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for key, value in first.items():
        difference = float((second[key].double() - value.double()).norm())
        assert difference <= tolerance * max(float(value.double().norm()), 1e-3), (key, difference)


def torchrun(count: int, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(count),
        "-m",
        "unlabeled",
        *arguments,
    ]


def run(command: list[str], timeout: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def wait_until(true: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def begin(command: list[str], run_folder: str) -> subprocess.Popen[str]:
    """Start it and wait until it has left a checkpoint."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until((Path(run_folder) / "checkpoints" / "last.ckpt").is_file)
    return process


def rank_of(process: psutil.Process) -> int | None:
    """Its rank; ``None`` of a helper, which may have ended since it was listed."""
    try:
        return int(process.environ()["RANK"])
    except (KeyError, psutil.NoSuchProcess):
        return None


def ranks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    ranks = {child: rank_of(child) for child in psutil.Process(process.pid).children(recursive=True)}
    return sorted((child for child, rank in ranks.items() if rank is not None), key=lambda child: ranks[child] or 0)


def test_two_ranks_end_with_the_weights_of_one(here: Path) -> None:
    set_quiet(True)
    pretrain("gsimclr", "one", overrides=(*SETTINGS, "epochs=1"))  # whose pseudo-labels rank 0 hands to the other
    done = run([*UNLABELED, "pretrain", "gsimclr", *SETTINGS, "epochs=1", "hardware.devices=2", "--out", "two"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("probe it") == 1
    assert_same("one", "two", 2e-4)
    ours, theirs = ((here / name / "metrics.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(ours) == len(theirs) > 2  # a row a step: batches of 32 from 64 clusters of 128 training images
    assert "hardware.devices=2" in json.loads((here / "two" / "environment.json").read_text())["command"]


def test_the_environment_says_who_started_this_process() -> None:
    assert launched({}) is None
    assert launched({"WORLD_SIZE": "1", "RANK": "0"}) is None
    elastic = {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    elastic |= {"MASTER_ADDR": "h", "MASTER_PORT": "7"}
    assert launched(elastic) == Launch(5, 8, 1, 4, "h", 7)
    slurm = {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "n[3-4]", "SLURM_JOB_ID": "40001"}
    assert launched(slurm) is None  # the batch script itself, not a task of srun
    step = {**slurm, "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    step |= {"SLURM_LOCALID": "3", "SLURM_PROCID": "7"}
    assert launched(step) == Launch(7, 8, 3, 4, "n3", 20001)
    assert first_host("a-[08-11],b") == "a-08"


def test_sigterm_saves_and_ends_within_ten_seconds(here: Path) -> None:
    command = [*UNLABELED, "pretrain", "simclr", *SETTINGS, "epochs=60", "output.save_seconds=0.2", "--out", "stopped"]
    process = begin(command, "stopped")
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - before < 10
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("unlabeled: stopped by SIGTERM after step ")
    assert last.endswith("go on with: unlabeled pretrain stopped --resume")
    step = torch.load("stopped/checkpoints/last.ckpt", weights_only=True)["step"]
    assert f"after step {step} of 240" in last
    assert not list(here.glob("stopped/**/*.part"))


SLOW_STEP = """
import sys, torch
from unlabeled.cli.app import main
from unlabeled.ssl.simclr import SimCLR
forward = SimCLR.forward
def slow(self, batch, step):
    if step.number == 3:
        print("slow", flush=True)
        a = torch.randn(1500, 1500)
        for _ in range(3):
            a = torch.linalg.eigvals(a.double().expand(6, -1, -1)).real.mean(0)[:, None].expand(1500, 1500)
    return forward(self, batch, step)
SimCLR.forward = slow
sys.argv[0] = "unlabeled"
main()
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_sigterm_is_obeyed_even_inside_a_long_operation(here: Path) -> None:
    Path("slow.py").write_text(SLOW_STEP)
    settings = [*SETTINGS, "epochs=9", "output.save_seconds=0"]
    process = subprocess.Popen(
        [sys.executable, "slow.py", "pretrain", "simclr", *settings, "--out", "run"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "slow\n"
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert 7 < time.monotonic() - before < 10
    assert process.returncode == 1
    assert "the step did not end within 8 s; the checkpoint of step 3 is kept" in errors


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_killed_rank_ends_the_job_and_another_number_of_ranks_goes_on(here: Path) -> None:
    set_quiet(True)
    settings = (*SETTINGS, "epochs=5", "output.save_seconds=0.2")
    pretrain("simclr", "whole", overrides=settings)
    command = [*UNLABELED, "pretrain", "simclr", *settings, "hardware.devices=2", "--out", "run"]
    process = begin(command, "run")
    before = time.monotonic()
    ranks = ranks_of(process)
    ranks[1].kill()
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - before < 60  # seconds on an idle machine
    assert process.returncode == 1
    assert "unlabeled: rank 1 of 2 was killed by SIGKILL" in errors
    assert "go on with: unlabeled pretrain run --resume" in errors
    assert "Traceback" not in errors
    assert not [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]
    done = run([*UNLABELED, "pretrain", "run", "--resume", "hardware.devices=4"])
    assert done.returncode == 0, done.stderr
    assert_same("whole", "run", 0.05)  # rounding grows over twenty steps; other batches would differ by 1
    pretrain("simclr", "run", overrides=settings, resume=True)  # finished: another number of ranks is no other recipe


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_torchrun_and_a_signal_to_all(here: Path) -> None:
    settings = [*SETTINGS, "epochs=60", "output.save_seconds=0.2"]
    process = begin(torchrun(2, "pretrain", "simclr", *settings, "--out", "run"), "run")
    ranks_of(process)[1].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "unlabeled: rank 0 of 2" in errors
    assert "lost the others" in errors or "stopped by SIGTERM" in errors
    process = subprocess.Popen([*UNLABELED, "pretrain", "run", "--resume", "hardware.devices=2"], stderr=-1, text=True)
    wait_until(lambda: len(ranks_of(process)) == 2)
    time.sleep(8)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - before < 20  # ten seconds, and what other tests take of the two cores
    assert process.returncode == 1
    assert "stopped by SIGTERM" in errors


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_silent_rank_is_given_up_and_no_rank_outlives_its_starter(here: Path) -> None:
    settings = [*SETTINGS, "epochs=60", "output.save_seconds=0.2", "hardware.devices=2", "hardware.timeout=5"]
    process = begin([*UNLABELED, "pretrain", "simclr", *settings, "--out", "run"], "run")
    ranks_of(process)[1].send_signal(signal.SIGSTOP)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "killed" in errors or "gave no answer" in errors
    process = subprocess.Popen([*UNLABELED, "pretrain", "run", "--resume", *settings[-1:], "hardware.devices=2"])
    wait_until(lambda: len(ranks_of(process)) == 2)
    ranks = ranks_of(process)
    time.sleep(6)
    process.kill()
    process.wait()
    wait_until(lambda: not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks), 30)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_probes_under_torchrun_are_those_of_one_process(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = []
    for name, command in (("one", UNLABELED), ("two", torchrun(2))):
        monkeypatch.setenv("UNLABELED_CACHE", str(here / f"cache-{name}"))
        arguments = ["probe", "random:resnet10_small", "--data", "npz:images.npz", "--probes", "knn,nmc"]
        done = run([*command, *arguments, "--json", f"{name}.json"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("resnet10_small") == 1
        (report,) = json.loads(Path(f"{name}.json").read_text())["reports"]
        for probe in report["probes"].values():
            probe.pop("seconds")
        reports.append(report)
    assert reports[0] == reports[1]
    done = run(torchrun(2, "doctor"))
    assert "runs in a single process" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_hosts(here: Path) -> None:
    """Two network namespaces with a cable between them, and the commands of docs/scale.md."""
    tag = f"u{os.getpid() % 100000}"
    hosts, ends = [f"{tag}a", f"{tag}b"], [f"{tag}x", f"{tag}y"]
    if run(["ip", "netns", "add", hosts[0]]).returncode:
        pytest.skip("network namespaces are not allowed here")
    try:
        for command in (
            ["ip", "netns", "add", hosts[1]],
            ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]],
            *(["ip", "link", "set", end, "netns", host] for end, host in zip(ends, hosts, strict=True)),
            *(
                ["ip", "-n", host, *words]
                for number, (end, host) in enumerate(zip(ends, hosts, strict=True))
                for words in (
                    ["addr", "add", f"10.77.0.{number + 1}/24", "dev", end],
                    ["link", "set", end, "up"],
                    ["link", "set", "lo", "up"],
                )
            ),
        ):
            done = run(command)
            assert done.returncode == 0, (command, done.stderr)
        processes = [
            subprocess.Popen(
                ["ip", "netns", "exec", host, *torchrun(1)[:-2], "--nnodes", "2", "--node-rank", str(number),
                 "--master-addr", "10.77.0.1", "--master-port", "29500", "-m", "unlabeled", "pretrain", "simclr",
                 *SETTINGS, "epochs=1", "--out", "two"],
                env={**os.environ, "GLOO_SOCKET_IFNAME": end}, stderr=subprocess.PIPE, text=True,
            )
            for number, (host, end) in enumerate(zip(hosts, ends, strict=True))
        ]  # fmt: skip
        for process in processes:
            _, errors = process.communicate(timeout=280)
            assert process.returncode == 0, errors
    finally:
        for host in hosts:
            run(["ip", "netns", "del", host])
    set_quiet(True)
    pretrain("simclr", "one", overrides=(*SETTINGS, "epochs=1"))
    assert_same("one", "two", 2e-4)


def test_hosts_without_a_launcher_are_explained(here: Path) -> None:
    from unlabeled.core.errors import UserError

    with pytest.raises(UserError, match=r"torchrun or srun.*docs/scale.md"):
        pretrain("simclr", "run", overrides=(*SETTINGS, "hardware.nodes=2"))
    assert not Path("run").exists()
