from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from unlabeled.verbs import doctor


def test_versions_name_what_matters_without_importing_torch() -> None:
    code = (
        "import sys; from unlabeled.verbs.doctor import versions; print(versions()); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unlabeled ")
    assert all(f"\n{package} " in done.stdout for package in ("torch", "torchvision", "timm", "lightning"))


def test_a_healthy_installation_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNLABELED_DATA", raising=False)
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    lines, ok = doctor.doctor()
    assert ok, lines
    assert any("torchvision works" in line for line in lines)
    assert any("fashion-mini" in line for line in lines)
    assert any("GiB free" in line for line in lines)


@pytest.mark.parametrize(
    ("torch", "torchvision", "demands", "state"),
    [
        ("2.14.1", "0.28.0", ["torch==2.13.0"], "wrong"),
        ("2.13.0+cu130", "0.28.0+cu130", ["numpy", "torch==2.13.0", "gdown; extra == 'gdown'"], "ok"),
        ("2.13.0+cpu", "0.28.0+cu130", ["torch==2.13.0"], "wrong"),
        ("2.15.0", "0.29.2", ["torch>=2.14.0"], "ok"),
    ],
)
def test_the_pair_is_judged_by_metadata(torch: str, torchvision: str, demands: list[str], state: str) -> None:
    (finding,) = doctor.check_pair(torch, torchvision, lambda _: demands)
    assert finding.state == state


def test_a_mismatched_pair_is_told_what_to_install() -> None:
    (finding,) = doctor.check_pair("2.13.0", "0.27.0", lambda _: ["torch==2.12.0"])
    assert "pip install 'torchvision==0.28.*'" in finding.text
    # torchvision 0.29 is for torch 2.14 and later: there is no release to be named for those
    (finding,) = doctor.check_pair("2.15.0", "0.28.0", lambda _: ["torch==2.13.0"])
    assert "pip install --upgrade torch torchvision" in finding.text


def test_a_library_that_is_too_old_is_told_what_to_install() -> None:
    demands = doctor.own_demands()
    assert "torch" in [demand.name for demand in demands]
    assert "onnx" not in [demand.name for demand in demands]
    assert doctor.check_versions(demands) == []
    (finding,) = doctor.check_versions([*demands, Requirement("numpy>=999")])
    assert finding.state == "wrong"
    assert "pip install 'numpy>=999'" in finding.text


def test_a_torchvision_that_dies_on_import_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wrong = [finding for finding in doctor.check_imports() if finding.state == "wrong"]
    assert len(wrong) == 1
    assert "torchvision::nms does not exist" in wrong[0].text
    assert "pip install" in wrong[0].text


def test_folders_that_cannot_be_used_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path / "not" / "yet").state in ("ok", "note")
    monkeypatch.setenv("UNLABELED_DATA", str(tmp_path / "absent"))
    assert doctor.check_data(None)[0].state == "wrong"
