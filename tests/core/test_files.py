"""Files are whole or absent, locks hold, refusals are explained."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_folder, atomic_write, atomic_write_json, explained, locked

ROOT = Path(__file__).parents[2]


def test_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, {"a": 1})

    def half(handle: IO[bytes]) -> None:
        handle.write(b"half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        atomic_write(path, half)
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_failing_folder_leaves_the_old_one(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "x") as new:
        (new / "one").write_text("1")

    def fail() -> None:
        with atomic_folder(tmp_path / "x") as new:
            (new / "two").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["one"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EEXIST])
def test_refusals_are_explained(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"), explained(tmp_path):
        raise OSError(number, os.strerror(number))


def test_full_disk_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"disk is full|cannot write"), explained(Path("/dev/full")):
        Path("/dev/full").write_bytes(b"x" * 100_000)


def test_lock_refuses_a_second_process(tmp_path: Path) -> None:
    program = (
        "import sys; from unlabeled.core.files import locked; from unlabeled.core.errors import UserError\n"
        "try:\n with locked(sys.argv[1], wait=0, busy='busy'): print('got')\n"
        "except UserError as e: print(e)"
    )

    def other() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "lock")], capture_output=True, text=True, check=True
        ).stdout.strip()

    with locked(tmp_path / "lock"):
        assert other() == "busy"
    assert other() == "got"


def test_nearest_names_the_closest_or_all() -> None:
    assert nearest("simlcr", ["simclr", "swav"]) == " Did you mean 'simclr'?"
    assert nearest("qqq", ["simclr", "swav"]) == " Known: simclr, swav."


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o002, 0o664, 0o775)]
)
def test_what_is_written_follows_the_umask(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    code = f"""
import os; os.umask({mask})
from pathlib import Path
import torch
from safetensors.torch import save_file
from unlabeled.core.files import atomic_folder, atomic_write_text
atomic_write_text("a.txt", "x")
with atomic_folder("f") as f:
    save_file({{"a": torch.zeros(1)}}, f / "model.safetensors")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("a.txt", "f", "f/model.safetensors")}
    assert modes == {"a.txt": file, "f": folder, "f/model.safetensors": file}
