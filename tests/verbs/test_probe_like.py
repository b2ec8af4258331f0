"""Models of one table are probed on one data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unlabeled.core.progress import set_quiet
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe_all


def test_what_has_no_data_of_its_own_is_probed_on_the_runs(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "gray.npz", images=images, labels=np.arange(60) % 3)
    data = f"npz:{tmp_path / 'gray.npz'}"
    set_quiet(True)
    run = pretrain("random", tmp_path / "run", overrides=(f"data={data}", "data.size=16", "batch_size=16"))
    reports = probe_all(["pixels", str(run.folder), "random:resnet10_small"], probes=["nmc"])
    set_quiet(False)
    assert [report["data"] for report in reports] == [data] * 3
    assert [report["dimension"] for report in reports] == [16 * 16, 256, 256]
