"""Kill real runs at random instants, resume them, and compare what comes out with a run that nobody disturbed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TIMINGS = {
    "images_per_second", "seconds", "processor_seconds", "time_ratio", "written", "started", "wall", "processor",
    "fit_seconds", "mtime_ns",
}  # fmt: skip
NET = "backbone.args={layers: [1, 1, 1, 1], channels: [4, 4, 8, 8], stem_stride: 2}"
VIT = "backbone.args={patch_size: 4, embed_dim: 24, depth: 1, num_heads: 2}"
COMMON = (
    "batch_size=32", "health.images=100", "output.logger=none", "output.log_every=2", "output.save_seconds=0",
    "hardware.precision=32-true", "optimizer.lr=0.01",
)  # fmt: skip


class Process:
    """A running ``unlabeled`` process."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log, self.code = pid, log, None
        self._ended = threading.Event()

    def ended(self, code: int) -> None:
        self.code = code
        self._ended.set()

    def wait(self, timeout: float = 120) -> int:
        """Its exit code, negative for a signal; one that hangs is killed and said."""
        if not self._ended.wait(timeout):
            os.kill(self.pid, signal.SIGKILL)
            self._ended.wait(10)
            raise TimeoutError(f"no end after {timeout} s: {self.output()}")
        assert self.code is not None
        return self.code

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL it after some time; whether it was still running."""
        if self._ended.wait(seconds):
            return False
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Zygote:
    """Starts ``unlabeled`` processes within milliseconds; as many at once as there are zygotes."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1,
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def start(self, argv: Sequence[str], home: Path, **settings: Any) -> Process:
        """Start ``unlabeled ARGV`` in ``home``, with a cache and temporary files of its own there."""
        assert self._server.stdin is not None
        environment = {"UNLABELED_CACHE": str(home / "cache"), "TMPDIR": str(home / "tmp"), **settings.pop("env", {})}
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        log = home / "log.txt"
        job = {"argv": list(argv), "cwd": str(home), "log": str(log), "env": environment, **settings}
        self._server.stdin.write(json.dumps(job) + "\n")
        process = Process(int(self._line()), log)
        threading.Thread(target=lambda: process.ended(int(self._line())), daemon=True).start()
        return process

    def run(self, argv: Sequence[str], home: Path, **settings: Any) -> tuple[int, str]:
        """Exit code and output of a whole process."""
        process = self.start(argv, home, **settings)
        return process.wait(), process.output()

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)


@dataclass(frozen=True)
class Scenario:
    """A command, and the command that goes on after a kill."""

    name: str
    argv: tuple[str, ...]
    resume: tuple[str, ...]


def make_images(folder: Path, count: int = 96, size: int = 16) -> Path:
    """Labelled gray PNG files in two class folders."""
    dice = np.random.default_rng(0)
    for number in range(count):
        part = folder / ("dark", "light")[number % 2]
        part.mkdir(parents=True, exist_ok=True)
        pixels = dice.normal((70, 180)[number % 2], 40, (size, size)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(part / f"{number:04}.png")
    return folder


def scenarios(stage: Path, zygote: Zygote) -> dict[str, Scenario]:
    """All that can be killed; ``stage`` holds the images and the trained run that probes and forgetting start from."""
    data = make_images(stage / "images")
    large = make_images(stage / "large", 3000, 12)
    settings = {
        "rotation": (NET,),
        "simclr": (NET,),
        "gsimclr": (NET, "method.clusters=40", "method.autoencoder.epochs=2"),
        "swav": (NET, "method.prototypes=8", "method.queue=64", "method.freeze_steps=4"),
        "mae": (VIT, "method.decoder_dim=16", "method.decoder_heads=2"),
        "random_teacher": (NET, "method.output_dim=32", "method.hidden_dim=16", "method.bottleneck_dim=8"),
        "supervised": (NET,),
    }
    found = []
    for name, more in settings.items():
        argv = ("pretrain", name, f"data=folder:{data}", "epochs=4", *COMMON, *more, "--out", "run")
        found.append(Scenario(f"pretrain {name}", argv, (*argv, "--resume")))
    argv = ("pretrain", "random", f"data=folder:{large}", "epochs=0", "data.size=10", *COMMON, NET, "--out", "run")
    found.append(Scenario("store", argv, (*argv, "--resume")))
    model = stage / "model"
    if not (model / "backbone").exists():
        argv = ("pretrain", "supervised", f"data=folder:{data}", "epochs=2", *COMMON, NET, "--out", str(model))
        code, output = zygote.run(argv, stage)
        assert code == 0, output
    argv = ("probe", "local-dir:" + str(model / "backbone"), "--data", f"folder:{large}", "--json", "run/out.json")
    found.append(Scenario("probe", argv, argv))
    argv = ("finetune", str(model), "--data", f"folder:{data}", "epochs=4", *COMMON, "--out", "run")
    found.append(Scenario("finetune", argv, (*argv, "--resume")))
    argv = ("forget", str(model), "epochs=2", "vae_epochs=2", "vae_batch_size=32", "--forget", "random:20%")
    argv = (*argv, "--compare", "lfssd", "--out", "run")
    found.append(Scenario("forget", argv, argv))
    return {scenario.name: scenario for scenario in found}


@dataclass
class Whole:
    """What an undisturbed process left: its results, how long it took, how often it touched the file system."""

    results: dict[str, Any]
    seconds: float
    operations: int


def undisturbed(zygote: Zygote, scenario: Scenario, home: Path) -> Whole:
    """Run a scenario to its end."""
    home.mkdir(parents=True)
    start = time.monotonic()
    code, output = zygote.run(scenario.argv, home, count_to=str(home / "count"))
    assert code == 0, output
    return Whole(results(home / "run"), time.monotonic() - start, int((home / "count").read_text()))


@dataclass
class Trial:
    """One disturbed run: how often it was killed, when, and what was wrong in the end (empty: it survived)."""

    scenario: str
    kills: list[str]
    problem: str = ""


def trial(zygote: Zygote, scenario: Scenario, whole: Whole, home: Path, dice: random.Random, most: int = 2) -> Trial:
    """Kill a scenario up to ``most`` times, at random instants and before random file operations, then let it end."""
    home.mkdir(parents=True)
    found = Trial(scenario.name, [])
    argv = scenario.argv
    for _ in range(dice.randint(1, most)):
        if dice.random() < 0.5:
            moment = dice.random() * whole.seconds
            dead, what = zygote.start(argv, home).kill_after(moment), f"at {moment:.2f} s"
        else:
            number = dice.randint(1, whole.operations)
            code, _ = zygote.run(argv, home, die_at=number)
            dead, what = code == -signal.SIGKILL, f"before file operation {number}"
        argv = scenario.resume  # also of what ended before it could be killed
        if not dead:
            break
        found.kills.append(what)
        found.problem = found.problem or "; ".join(broken(home))
    code, output = zygote.run(argv, home)
    if code:
        found.problem = found.problem or f"exit code {code} after resume: {output[-600:]}"
        return found
    now = results(home / "run")
    different = sorted(name for name in {*now, *whole.results} if now.get(name) != whole.results.get(name))
    if different:
        found.problem = found.problem or f"not as undisturbed: {', '.join(different)}"
    litter = [str(path.relative_to(home)) for path in home.rglob("*.part")]
    if litter:
        found.problem = found.problem or f"left behind: {', '.join(litter)}"
    return found


def results(run: Path) -> dict[str, Any]:
    """Weights as hashes, tables as values without timings, by their name in the run."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(path.read_text().splitlines()))
            found[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
        elif path.suffix == ".json" and path.name not in ("environment.json", "facts.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.is_file() and path.name not in (".lock", "environment.json") and path.suffix != ".lock":
            found[name] = "there"
    return found


def timeless(value: Any) -> Any:
    """A JSON value without what a clock said."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key not in TIMINGS}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def broken(home: Path) -> Iterator[str]:
    """Files under a final name that cannot be read whole."""
    for path in home.rglob("*"):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(home).parts):
            continue
        try:
            _read(path)
        except Exception as error:
            yield f"{path.relative_to(home)} is broken ({type(error).__name__}: {error})"


def _read(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                file.get_tensor(name)
    elif path.suffix in (".ckpt", ".pt"):
        torch.load(path, weights_only=True)
    elif path.suffix in (".npz", ".npy"):
        held = np.load(path, allow_pickle=False)
        for name in getattr(held, "files", ()):
            held[name]
    elif path.suffix == ".png":
        Image.open(path).load()


def stress(folder: Path, processes: int, rounds: int, seed: int = 0) -> list[str]:
    """Let processes open one pixel store and one feature cache, some of them killed; a hash of what each one got."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 12, 12, 3), dtype=np.uint8)
    np.savez(folder / "x.npz", x_train=pixels, x_test=pixels[:5])
    command = [sys.executable, "-W", "ignore", str(HERE / "contender.py")]
    arguments = [str(folder), str(processes), str(rounds), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()
