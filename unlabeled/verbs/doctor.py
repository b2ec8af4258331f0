"""Is everything here that a run needs? torch is imported elsewhere: a broken one must not stop the diagnosis."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from unlabeled.core.files import cache_dir
from unlabeled.core.version import VERSION

SHOWN = ("torch", "torchvision", "timm", "lightning", "scikit-learn", "numpy", "faiss-cpu")
FOR_DEVELOPERS = ("all", "peers", "docs", "test", "lint")
"""Extras that a user need not hear of: collections of others, and what the project itself is made with."""
LAST_PAIRED = 14
"""The last minor release of torch 2 that has a torchvision of its own: that of 2.14 serves later ones, too."""
UPGRADE = "pip install --upgrade torch torchvision"
LOW_DISK = 2 * 2**30
PATIENCE = 180
"""Seconds an import may take (a cold network disk is slow)."""
_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    "built": f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else None,
    "mps": torch.backends.mps.is_available(),
    "threads": torch.get_num_threads(),
}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: ``ok``, ``note`` (a matter of taste) or ``wrong`` (must be mended)."""

    state: Literal["ok", "note", "wrong"]
    text: str

    def __str__(self) -> str:
        return f"{ {'ok': 'ok   ', 'note': 'note ', 'wrong': 'WRONG'}[self.state] }  {self.text}"


def version_of(package: str) -> str | None:
    """The installed version, without importing the package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> str:
    """What ``unlabeled --version`` prints: this package, Python, and the libraries results depend on."""
    lines = [f"unlabeled {VERSION}", f"Python {platform.python_version()} ({platform.platform()})"]
    lines += [f"{package} {version_of(package) or 'not installed'}" for package in SHOWN]
    return "\n".join(lines)


def doctor(data_dir: str | Path | None = None) -> tuple[list[str], bool]:
    """Check the installation, the torch/torchvision pair, the accelerator, disk and data.

    Args:
        data_dir: a folder of data sets to look into besides the usual ones.

    Returns:
        Lines to print, and whether nothing is wrong.
    """
    pair = check_pair(version_of("torch"), version_of("torchvision"), importlib.metadata.requires)
    findings = [*check_packages(), *pair, *check_imports(), check_disk(cache_dir()), check_disk(Path.cwd())]
    findings += check_data(data_dir)
    return [str(finding) for finding in findings], all(finding.state != "wrong" for finding in findings)


def check_packages() -> list[Finding]:
    """Which libraries are there and new enough, and which extras are whole."""
    demands = own_demands()
    needed = [demand.name for demand in demands]
    missing = [package for package in needed if version_of(package) is None]
    findings = [Finding("ok", line) for line in versions().splitlines()[:2]]
    if missing:
        findings.append(Finding("wrong", f"not installed: {', '.join(missing)}; run: pip install {' '.join(missing)}"))
    else:
        findings.append(Finding("ok", ", ".join(f"{package} {version_of(package)}" for package in needed)))
    findings += check_versions(demands)
    for extra in own_extras():
        packages = [demand.name for demand in own_demands(extra) if demand.name not in needed]
        absent = [package for package in packages if version_of(package) is None]
        if absent:
            text = f"the extra '{extra}' is not installed ({', '.join(absent)}): pip install 'unlabeled[{extra}]'"
            findings.append(Finding("note", text))
    return findings


def own_demands(extra: str = "") -> list[Requirement]:
    """What this package demands, with one of its extras; nothing where it runs from a checkout not installed."""
    try:
        demands = map(Requirement, importlib.metadata.requires("unlabeled") or ())
    except importlib.metadata.PackageNotFoundError:
        return []
    return [demand for demand in demands if demand.marker is None or demand.marker.evaluate({"extra": extra})]


def own_extras() -> list[str]:
    """The extras of this package that users choose among."""
    try:
        names = importlib.metadata.metadata("unlabeled").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [name for name in names if name not in FOR_DEVELOPERS]


def check_versions(demands: Sequence[Requirement]) -> list[Finding]:
    """Whether what is installed is of the versions demanded: pip lets later installations break that."""
    findings = []
    for demand in demands:
        version = version_of(demand.name)
        if version is not None and not demand.specifier.contains(version, prereleases=True):
            text = f"{demand.name} {version} is installed, unlabeled needs {demand}; run: pip install '{demand}'"
            findings.append(Finding("wrong", text))
    return findings


def check_pair(torch: str | None, torchvision: str | None, requires: object = None) -> list[Finding]:
    """Whether torchvision was built for this torch, by what its metadata demands and by the release table.

    A mismatched pair dies inside torchvision with ``operator torchvision::nms does not exist``.

    Args:
        torch, torchvision: installed versions.
        requires: gives a package's requirements (``importlib.metadata.requires``).
    """
    if torch is None or torchvision is None:
        return []
    fitting = fitting_torchvision(torch)
    remedy = f"pip install 'torchvision=={fitting}.*'" if fitting else UPGRADE
    demands = [Requirement(text) for text in ((requires("torchvision") if callable(requires) else None) or [])]
    for demand in demands:
        if demand.name == "torch" and not demand.specifier.contains(torch.split("+")[0], prereleases=True):
            text = f"torchvision {torchvision} needs torch{demand.specifier}, but torch {torch} is installed; {remedy}"
            return [Finding("wrong", text)]
    builds = [version.partition("+")[2] for version in (torch, torchvision)]
    if all(builds) and builds[0] != builds[1]:
        text = f"torch is built for {builds[0]} and torchvision for {builds[1]}; install both from the same index"
        return [Finding("wrong", text)]
    return [Finding("ok", f"torch {torch} and torchvision {torchvision} declare to fit")]


def fitting_torchvision(torch: str) -> str | None:
    """The torchvision release that is made with a torch release: 2.x goes with 0.(x + 15), while they were paired."""
    match = re.match(r"2\.(\d+)", torch)
    return f"0.{int(match[1]) + 15}" if match and int(match[1]) <= LAST_PAIRED else None


def check_imports() -> list[Finding]:
    """Import torch and torchvision in processes of their own, and ask torch for accelerators."""
    torch, vision = (
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for code in (_TORCH, "import torchvision; torchvision.ops.nms")
    )
    findings = []
    (out, problem), (_, vision_problem) = _finish(torch), _finish(vision)
    if torch.returncode:
        text = f"torch cannot be imported: {_last_line(problem)}; reinstall it: pip install --force-reinstall torch"
        return [Finding("wrong", text)]
    facts = json.loads(out)
    if facts["gpus"]:
        findings.append(Finding("ok", f"GPU: {', '.join(facts['gpus'])}"))
    elif facts["mps"]:
        findings.append(Finding("note", "Apple GPU (mps): training alone runs on it; the rest computes on the CPU"))
    else:
        why = "torch is built for CPUs only" if not facts["built"] else f"torch is built for {facts['built']}"
        threads = f"{facts['threads']} CPU thread{'s' if facts['threads'] != 1 else ''}"
        text = f"no GPU ({why}); {threads} of {os.cpu_count()} cores"
        findings.append(Finding("note", text))
    if vision.returncode:
        fitting = fitting_torchvision(version_of("torch") or "")
        remedy = (
            f"pip install --force-reinstall 'torchvision=={fitting}.*'" if fitting else f"{UPGRADE} --force-reinstall"
        )
        text = f"torchvision does not work with this torch ({_last_line(vision_problem)}); {remedy}"
        findings.append(Finding("wrong", text))
    else:
        findings.append(Finding("ok", "torchvision works with this torch"))
    return findings


def _finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0], f"no answer within {PATIENCE} s"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it gave no reason"])[-1][:300]


def check_disk(folder: Path) -> Finding:
    """Whether a folder (or where it would be made) can be written to, and has room."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("wrong", f"{folder} cannot be written to ({error.strerror}); choose another folder")
    text = f"{folder}: {free / 2**30:,.1f} GiB free"
    return Finding("note" if free < LOW_DISK else "ok", text + (", which is little" if free < LOW_DISK else ""))


def check_data(data_dir: str | Path | None) -> list[Finding]:
    """Which data sets are on this machine."""
    findings = []
    folders = [str(data_dir)] if data_dir else []
    if "UNLABELED_DATA" in os.environ:
        folders.append(os.environ["UNLABELED_DATA"])
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            text = f"the data folder {folder} does not exist; mend $UNLABELED_DATA or --data-dir"
            findings.append(Finding("wrong", text))
    try:
        from unlabeled.data import list_data

        here = [entry.name for entry in list_data(data_dir) if entry.found]
    except (ImportError, OSError, RuntimeError) as error:
        return [*findings, Finding("wrong", f"data cannot be listed: {_last_line(str(error))}")]
    return [*findings, Finding("ok", f"data on this machine: {', '.join(here)}")]
