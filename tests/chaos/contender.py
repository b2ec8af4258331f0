"""``contender.py FOLDER PROCESSES ROUNDS SEED``: processes that fight for one pixel store and one feature cache.

Every round all processes meet, someone has spoilt store and cache (removed them, cut a file, or nothing), one process
is killed while it works, and each prints a hash of what it got: all lines must be the same.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from unlabeled.core.progress import set_quiet
from unlabeled.data import open_data
from unlabeled.probes.features import extract


class Small(torch.nn.Module):
    """Sums of a few pixels: an embedding that costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 3 * 8 * 8 * 4).view(4, -1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


def contend(home: Path) -> str:
    """Open the store, extract the features, and say what came."""
    images = open_data(f"npz:{home / 'x.npz'}", size=8, cache=home / "cache")
    bank = extract(Small(), images, mean=[0.5] * 3, std=[0.5] * 3, cache=home / "features", batch_size=16)
    digest = hashlib.sha256(np.ascontiguousarray(images.images).tobytes())
    digest.update(np.ascontiguousarray(bank.features).tobytes())
    return f"{images.fingerprint} {bank.fingerprint} {digest.hexdigest()}"


def spoil(home: Path, dice: random.Random) -> None:
    """Nothing, or what a broken disk, a cleaning colleague or a killed process leaves."""
    kind = dice.choice(["nothing", "store", "features", "manifests", "cut"])
    for name in {"store": ["cache"], "features": ["features"]}.get(kind, []):
        shutil.rmtree(home / name, ignore_errors=True)
    for manifest in [*home.rglob("manifest.json")] if kind in ("manifests", "cut") else []:
        manifest.unlink()
    for pixels in [*home.rglob("pixels.u8")] if kind == "cut" else []:
        os.truncate(pixels, pixels.stat().st_size // 2)


def main() -> None:
    """Fork the contenders of every round, kill one of them, collect the others."""
    home, processes, rounds, seed = Path(sys.argv[1]), *map(int, sys.argv[2:])
    set_quiet(True)
    torch.set_num_threads(1)
    dice = random.Random(seed)
    for _ in range(rounds):
        spoil(home, dice)
        children = []
        for _ in range(processes):
            child = os.fork()
            if child == 0:
                os.write(1, f"{contend(home)}\n".encode())  # one write: lines of several processes do not mix
                os._exit(0)
            children.append(child)
        time.sleep(dice.random() * 0.1)
        os.kill(dice.choice(children), signal.SIGKILL)
        for child in children:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status not in (0, -signal.SIGKILL):
                sys.exit(f"a contender ended with {status}")


if __name__ == "__main__":
    main()
