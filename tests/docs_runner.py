"""Run the blocks of Markdown pages as a reader would: in order, in one folder. Started by tests/test_docs.py.

``bash`` blocks of ``unlabeled …`` commands and ``python`` blocks run in this process, because importing torch again for
each would take most of the time; the blocks of a page share their Python names.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_bash(code: str) -> None:
    """Each line that begins with ``unlabeled`` goes to the command line's own entry, everything else to bash."""
    from unlabeled.cli.app import app

    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "unlabeled":
            app(words[1:], standalone_mode=False)
        elif words:
            subprocess.run(["bash", "-euc", line], check=True)


def main(pages: list[str]) -> int:
    for page in pages:
        names: dict[str, Any] = {"__name__": "__main__"}
        for number, (language, code) in enumerate(BLOCK.findall(Path(page).read_text(encoding="utf-8")), start=1):
            started = time.perf_counter()
            try:
                if language == "bash":
                    run_bash(code)
                else:
                    exec(compile(code, f"{page}, block {number}", "exec"), names)
            except BaseException:
                traceback.print_exc()
                print(f"\n{page}, block {number} failed:\n{code}", file=sys.stderr)
                return 1
            print(f"[{time.perf_counter() - started:.1f} s] {Path(page).name}, block {number}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
