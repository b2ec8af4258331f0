"""Starting up costs little: no torch for help, and few seconds from the imports to the first step."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

HELP, FIRST_STEP = 0.5, 5.0
"""Seconds; of the processor, so that other work on the machine does not count."""
CODE = """
import time
import lightning.pytorch, timm, torch, torchvision
from unlabeled.verbs.pretrain import dry_run
from unlabeled.recipes.resolve import load_recipe
start = time.process_time()
dry_run(load_recipe("simclr"))
print(time.process_time() - start)
"""


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_help_takes_no_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "pretrain" in run("-m", "unlabeled", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP


def test_the_first_step_comes_soon() -> None:
    assert float(run("-c", CODE).splitlines()[-1]) < FIRST_STEP
