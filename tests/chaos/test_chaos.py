"""The short version of ``benchmarks/chaos.py``: real processes, real SIGKILLs, bit for bit the same in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from harness import Scenario, Zygote, broken, results, trial, undisturbed


@pytest.mark.parametrize("name", ["pretrain gsimclr", "store", "finetune"])
def test_killed_runs_end_as_undisturbed_ones(
    name: str, known: dict[str, Scenario], zygote: Zygote, tmp_path: Path
) -> None:
    scenario, dice = known[name], random.Random(name)
    whole = undisturbed(zygote, scenario, tmp_path / "whole")
    assert not list(broken(tmp_path / "whole"))
    kills = 0
    for number in range(9):
        found = trial(zygote, scenario, whole, tmp_path / str(number), dice, most=1)
        assert not found.problem, found
        kills += len(found.kills)
        if kills >= 2:
            return
    pytest.fail("the runs ended before they could be killed")


def test_a_sigterm_while_something_is_prepared_says_how_to_go_on(
    known: dict[str, Scenario], zygote: Zygote, tmp_path: Path
) -> None:
    argv = [*known["pretrain gsimclr"].argv, "method.autoencoder.epochs=100000"]
    process, deadline = zygote.start(argv, tmp_path), time.monotonic() + 60
    while not list(tmp_path.glob("cache/prepared/*/*/.lock")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(10) == 1
    last = process.output().splitlines()[-1]
    assert last == "unlabeled: stopped by SIGTERM; go on with: unlabeled pretrain run --resume"


def test_the_harness_sees_what_is_broken(known: dict[str, Scenario], stage: Path, tmp_path: Path) -> None:
    shutil.copytree(stage / "model", tmp_path / "run")
    before = results(tmp_path / "run")
    assert before == results(stage / "model")
    weights = tmp_path / "run" / "backbone" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert results(tmp_path / "run") != before
    assert not list(broken(tmp_path))
    weights.write_bytes(content[: len(content) // 2])
    (tmp_path / "run" / "data.json").write_text('{"half": ')
    assert len(list(broken(tmp_path))) == 2
