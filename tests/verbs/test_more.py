"""A finished run that is trained longer ends where a longer training would have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import equal

from unlabeled.core.errors import UserError
from unlabeled.verbs.more import train_more
from unlabeled.verbs.pretrain import pretrain

GIVEN = ("batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=1", "seed=3")
INFINITE = ("optimizer.schedule=infinite", "optimizer.cooldown_epochs=2")


@pytest.fixture
def data(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    return f"data=npz:{tmp_path / 'images.npz'}"


def test_more_epochs_are_the_epochs_of_a_longer_training(data: str, tmp_path: Path) -> None:
    short = pretrain("simclr", tmp_path / "short", overrides=(data, *GIVEN, *INFINITE, "epochs=2"))
    before = (short.backbone / "model.safetensors").read_bytes()
    longer = train_more(short.folder, 2)
    assert longer.folder == tmp_path / "short-4-epochs"
    whole = pretrain("simclr", tmp_path / "whole", overrides=(data, *GIVEN, *INFINITE, "epochs=4"))
    ours, theirs = (load_file(run.backbone / "model.safetensors") for run in (longer, whole))
    assert all(equal(value, theirs[name]) for name, value in ours.items())
    rows = [(run.folder / "metrics.csv").read_text().count("\n") for run in (longer, whole)]
    assert rows[0] == rows[1]
    assert (short.backbone / "model.safetensors").read_bytes() == before
    published = train_more(short.folder, 1, tmp_path / "published", ["optimizer.anneal_epochs=1"])
    assert published.recipe().epochs == 3
    with pytest.raises(UserError, match=r"come to its end \(optimizer\.anneal_epochs=1\)"):
        train_more(published.folder, 1)
    with pytest.raises(UserError, match=r"'batch_size' differs.* backbone\.weights="):
        train_more(short.folder, 1, tmp_path / "other", ["batch_size=8"])
    with pytest.raises(UserError, match="exists; choose another"):
        train_more(short.folder, 2)


def test_a_schedule_that_has_ended_is_not_prolonged(data: str, tmp_path: Path) -> None:
    run = pretrain("simclr", tmp_path / "run", overrides=(data, *GIVEN, "epochs=1"))
    with pytest.raises(UserError, match=r"has come to its end \(optimizer.schedule=cosine\)"):
        train_more(run.folder, 1)
    assert not (tmp_path / "run-2-epochs").exists()
