"""The run folder: everything a run produced, and all that is needed to repeat or resume it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json, atomic_write_text, locked, remove, sweep
from unlabeled.recipes.resolve import load_recipe, recipe_yaml
from unlabeled.recipes.schema import Recipe
from unlabeled.ssl.method import Beside

COMMAND = "UNLABELED_COMMAND"
"""Names the command of the process that started this one as one of several ranks."""
CHECKOUT = Path(__file__).parents[2]
"""Where the package lies: a checkout if it was installed to be edited, else a folder of installed packages."""


class Run:
    """A folder with ``recipe.yaml``, ``metrics.csv``, ``environment.json``, ``checkpoints/``, ``backbone/``, …"""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        state = "finished" if self.finished() else "not finished" if self.exists() else "not begun"
        return f"Run({str(self.folder)!r}, {state})"

    @property
    def backbone(self) -> Path:
        """The timm folder of the trained backbone; present when the run has finished."""
        return self.folder / run_files.BACKBONE

    def beside(self, name: Beside) -> Path:
        """The timm folder of a network that the method kept beside its backbone."""
        return self.folder / name

    def also_kept(self) -> list[Path]:
        """The timm folders of all networks that were kept beside the backbone."""
        return [path for name in run_files.BESIDE if (path := self.folder / name).is_dir()]

    @property
    def checkpoint(self) -> Path:
        """The file a resumed run starts from."""
        return self.folder / run_files.LAST_CHECKPOINT

    @property
    def left_out(self) -> Path:
        """A forget split: which rows of the data a run that was made to forget does not hold any more."""
        return self.folder / run_files.LEFT_OUT

    def forgets(self) -> bool:
        """Whether the folder is the result of forgetting, or is becoming it."""
        return (self.folder / run_files.SPLIT).is_file()

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.folder / run_files.RECIPE).is_file()

    def finished(self) -> bool:
        """Whether training came to its end."""
        return (self.backbone / "config.json").is_file()

    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        if not self.exists():
            raise UserError(
                f"{self.folder} is not a run folder (it has no recipe.yaml); start one with `unlabeled pretrain`."
            )
        # the file: a run's folder may be called like a built-in recipe
        return load_recipe(self.folder / run_files.RECIPE)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; empty where it is missing or broken."""
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def begin(self, recipe: Recipe, command: str) -> None:
        """Write down what is going to be done, before anything is done; on resume, what is not yet written."""
        if not self.exists():
            atomic_write_text(self.folder / run_files.RECIPE, recipe_yaml(recipe))
        if not (self.folder / run_files.ENVIRONMENT).is_file():
            atomic_write_json(self.folder / run_files.ENVIRONMENT, environment(command))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder; one that is made for it goes again if nothing comes into it."""
        busy = f"another process works in {self.folder}; wait for it, stop it, or choose another --out."
        made, lock = not self.folder.exists(), self.folder / run_files.LOCK
        with locked(lock, wait=0, busy=busy):
            self.refuse_links()
            sweep(self.folder)
            try:
                yield
            finally:
                with suppress(OSError):
                    if made and list(self.folder.iterdir()) == [lock]:  # a mistake in the recipe
                        lock.unlink()
                        self.folder.rmdir()

    def refuse_links(self) -> None:
        """Make sure that nothing is written through the folder to somewhere else: a run may come from anyone.

        Raises:
            UserError: something in it is a link out of it.
        """
        home = self.folder.resolve()
        for parent, folders, _ in os.walk(self.folder):
            for name in folders:
                path = Path(parent, name)
                if path.is_symlink() and not path.resolve().is_relative_to(home):
                    raise UserError(
                        f"{path} is a link out of the run, and a run is never written through links; put a real "
                        "folder in its place, or link the whole run."
                    )

    def foreign(self) -> str | None:
        """The name of something in the folder that no run has put there, if there is any."""
        if not self.folder.is_dir():
            return None
        names = sorted(entry.name for entry in self.folder.iterdir())
        return next((name for name in names if name != run_files.LOCK and not name.endswith(".part")), None)

    def guests(self) -> list[str]:
        """The names of what lies in the folder and was not put there by training: exports, notes, other runs."""
        return sorted(e.name for e in self.folder.iterdir() if e.name not in (*run_files.WRITTEN, run_files.LOCK))

    def clear(self) -> None:
        """Remove what an earlier run wrote; anything else in the folder stays.

        First what makes it finished, then what it would go on from, last what makes it a run: killed in between, it
        is never taken for more than it is.
        """
        first, last = (run_files.BACKBONE, run_files.CHECKPOINTS), run_files.RECIPE
        for name in (*first, *(n for n in run_files.WRITTEN if n not in (*first, last)), last):
            remove(self.folder / name)


def told_apart(runs: Sequence[Run]) -> list[str]:
    """Names for runs: their folders', with as much of their parents as tells them apart."""
    paths = [run.folder.resolve() for run in runs]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({number})" for number, path in enumerate(paths, 1)]


def same_recipe(old: Recipe, new: Recipe) -> str | None:
    """The first setting that differs and matters for the weights, as a dotted path; ``None`` if there is none."""
    ignored = {"output", "hardware"}
    first, second = (r.model_dump(mode="json", exclude=ignored) for r in (old, new))
    return _difference(first, second)


def _difference(first: Any, second: Any, path: str = "") -> str | None:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            found = _difference(first.get(key), second.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    return None if first == second else path


def environment(command: str) -> dict[str, Any]:
    """Versions, hardware, command, for the record; git's state of where it ran and, in a checkout, of this package."""
    import torch

    packages = ("unlabeled", "torch", "torchvision", "timm", "lightning", "faiss-cpu", "numpy")
    installed = {
        d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"] in packages
    }
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": {package: installed.get(package, "not installed") for package in packages},
        "git": _git_state(Path.cwd()),
        "source": _git_state(CHECKOUT) if (CHECKOUT / ".git").exists() else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_state(folder: Path) -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> str:
    """How this process was started, for the record."""
    name = Path(sys.argv[0]).name
    started = ["python", "-m", "unlabeled"] if name == "__main__.py" else [name]
    return os.environ.get(COMMAND) or shlex.join([*started, *sys.argv[1:]])
