"""Many processes at once on one store, one feature cache, one run: one works, the others wait or are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness import ROOT, stress


def test_one_store_and_one_cache_for_many_processes(tmp_path: Path) -> None:
    seen = stress(tmp_path, processes=3, rounds=5)
    assert len(seen) >= 10
    assert len(set(seen)) == 1, set(seen)


def test_a_run_folder_is_for_one_process(tmp_path: Path) -> None:
    program = (
        "import sys, time; from unlabeled.runs.folder import Run\n"
        "from unlabeled.core.errors import UserError\n"
        "try:\n"
        "    with Run('run').lock():\n"
        "        print('works', flush=True); time.sleep(60)\n"
        "except UserError as error: print(error, flush=True)\n"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def says(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    running = [start() for _ in range(3)]
    said = [says(process) for process in running]
    assert said.count("works") == 1
    assert sum("another process works in run" in line for line in said) == 2
    worker = running[said.index("works")]
    worker.send_signal(signal.SIGKILL)  # a dead owner holds nothing
    worker.wait()
    again = start()
    assert says(again) == "works"
    for process in [*running, again]:
        process.kill()
        process.wait()
