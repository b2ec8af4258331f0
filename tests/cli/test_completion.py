"""TAB in a real bash offers verbs, options and names; the names are those of the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unlabeled.cli import completion


def test_names_are_those_of_the_code() -> None:
    from unlabeled.bench import BENCHES
    from unlabeled.verbs.export import NAMES

    assert set(completion.BENCHES) == set(BENCHES)
    assert set(completion.FORMATS) == set(NAMES)


def test_the_last_of_several_names_is_completed() -> None:
    complete = completion.some_of(("linear", "lda", "knn"))
    assert complete("l") == ["linear", "lda"]
    assert complete("knn,l") == ["knn,linear", "knn,lda"]
    assert complete("lda,l") == ["lda,linear"]


TYPED = {
    "unlabeled pr": "pretrain probe predict",
    "unlabeled pretrain --ov": "--overwrite",
    "unlabeled pretrain mae": "mae-imagenet mae",
    "unlabeled probe run --probes knn,li": "knn,linear",
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes_after_installing(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = ["unlabeled --install-completion bash >/dev/null", "source ~/.bash_completions/unlabeled.sh"]
    for line in TYPED:
        lines += [f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}", "_unlabeled_completion unlabeled"]
        lines.append('echo "${COMPREPLY[*]}"')
    done = subprocess.run(
        ["bash", "-uc", "\n".join(lines)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == list(TYPED.values()), done.stderr
