"""A process that has imported everything once and forks a real ``unlabeled`` process for every job it reads.

A job is a line of JSON on stdin: ``argv``, ``cwd``, ``log``, ``env``, and what to do to the process:

- ``die_at``: SIGKILL itself just before its n-th operation on the file system (0: never);
- ``count_to``: a file that receives how many such operations a whole process makes;
- ``file_limit``: no file may grow beyond so many bytes (``RLIMIT_FSIZE``, what a full disk looks like);
- ``clock``: let the wall clock run backwards, an hour a look.

The answer is a line with the process's id at once, and a line with its exit status when it has ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


def watch(die_at: int, count_to: str | None) -> None:
    """Count the operations that change the file system; die before one of them, or write down how many there were."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITES or str(arguments[0]).startswith("/dev"):
                return
        elif event not in OPERATIONS:
            return
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if count_to:
        import atexit

        atexit.register(lambda: Path(count_to).write_text(str(count)))


def run_backwards() -> None:
    """A wall clock that loses an hour at every look; what measures spans must not use it."""
    now = time.time()

    def earlier() -> float:
        nonlocal now
        now -= 3600
        return now

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)


def child(job: dict[str, Any]) -> None:
    """Become ``unlabeled ARGV``."""
    os.setsid()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    if job.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"],) * 2)
    if job.get("clock"):
        run_backwards()
    sys.argv = ["unlabeled", *job["argv"]]
    watch(job.get("die_at") or 0, job.get("count_to"))
    from unlabeled.cli.app import main

    main()


def warm() -> None:
    """Import all that the verbs import; no thread may be started before a fork."""
    import lightning.pytorch  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    import unlabeled.cli.app
    import unlabeled.cli.present
    import unlabeled.verbs.finetune
    import unlabeled.verbs.forget
    import unlabeled.verbs.probe
    import unlabeled.verbs.report  # noqa: F401


def serve() -> None:
    """Fork for every job until stdin ends."""
    warm()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    print("ready", file=answers)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
            os._exit(0)  # main() leaves by SystemExit; this is for safety alone
        print(pid, file=answers)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers)


if __name__ == "__main__":
    serve()
