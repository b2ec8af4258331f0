"""A minimal installation has the probes; what else it lacks is named in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unlabeled.core.extras import MissingPackage, extra, part

MINIMAL = """
import sys
LACKS = {
    "timm", "torchvision", "lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics", "PIL", "pydantic",
    "yaml", "typer", "rich", "safetensors", "matplotlib", "faiss", "tensorboard", "kornia", "lightly", "pandas",
    "pyarrow", "datasets", "tifffile", "huggingface_hub", "onnx", "onnxruntime",
}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LACKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def minimal(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MINIMAL + program], capture_output=True, text=True, timeout=120
    )


def test_all_probes_work_with_torch_numpy_and_scikit_learn_alone() -> None:
    done = minimal("""
import numpy as np
import unlabeled.probes as probes
for name in probes.__all__:
    getattr(probes, name)
generator = np.random.default_rng(0)
y = np.arange(60) % 3
X = generator.normal(size=(60, 8)).astype(np.float32) + 4 * np.eye(8, dtype=np.float32)[y]
bank = probes.FeatureBank.from_arrays(X, y)
report = probes.run_probes(bank, bank)
assert min(one.accuracy.top1 for one in report.results) > 0.9, report
try:
    probes.KNNProbe(index="hnsw").fit(X, y)
except ImportError as error:
    print(error)
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "index='hnsw' needs the package 'faiss', which is not installed: pip install 'unlabeled[faiss]'."
    )


def test_the_rest_says_in_one_line_what_is_missing() -> None:
    done = minimal("""
import unlabeled
try:
    unlabeled.pretrain
except unlabeled.UserError as error:
    print(error)
from unlabeled.__main__ import console
console()
""")
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert [line.partition("which")[2] for line in lines] == [
        " this minimal installation lacks: pip install unlabeled."
    ] * 2, lines
    assert done.returncode == 2


def test_a_fault_of_our_own_stays_one() -> None:
    with pytest.raises(ModuleNotFoundError) as found:
        part("unlabeled.no_such_part")
    assert not isinstance(found.value, MissingPackage)


def test_an_extra_that_is_there_is_imported() -> None:
    assert extra("json.decoder", "tables", "reading").__name__ == "json.decoder"
