"""A finished run that is trained longer ends where a longer training would have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import equal

from unlabeled.backbones import load_config, read_lineage
from unlabeled.core.errors import UserError
from unlabeled.engine.checkpoint import load_checkpoint
from unlabeled.engine.metrics import read_metrics
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


def test_new_images_are_gone_on_with_as_the_network_knows_images(data: str, tmp_path: Path) -> None:
    given = ("batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=0", "seed=3", *INFINITE)
    first = pretrain("byol", tmp_path / "first", overrides=(data, *given, "epochs=2", "method.hidden_dim=32"))
    brighter = np.random.default_rng(1).integers(128, 256, (100, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", images=brighter)
    new = f"data=npz:{tmp_path / 'new.npz'}"
    longer = train_more(first.folder, 1, overrides=[new])
    before, after = (load_config(run.backbone)["pretrained_cfg"] for run in (first, longer))
    assert (after["mean"], after["std"]) == (before["mean"], before["std"])  # not those of the brighter images
    ours, theirs = (load_checkpoint(run.checkpoint) for run in (longer, first))
    assert (theirs.step, theirs.per_epoch) == (6, 3)
    assert (ours.step, ours.per_epoch, ours.total) == (15, 5, 15)
    images = longer.read_json("data.json")
    assert (images["name"], images["images"]) == (f"npz:{tmp_path / 'new.npz'}", 80)
    assert [step.source for step in read_lineage(longer.backbone)] == ["", str(first.folder)]
    momenta = [theirs.optimizer, ours.optimizer]
    assert all(state["state"] for state in momenta), "the optimiser goes on, too"
    rates = [float(row["lr"]) for row in read_metrics(longer.folder / "metrics.csv")]
    assert rates[-1] == pytest.approx(0.25 * first.recipe().optimizer.lr * 16 / first.recipe().optimizer.lr_batch)
    np.savez(tmp_path / "large.npz", images=np.zeros((40, 20, 20), np.uint8))
    with pytest.raises(UserError, match=r"learned from images of 1×16×16, .* has 1×20×20; set data\.size=16"):
        train_more(first.folder, 1, tmp_path / "other", [f"data=npz:{tmp_path / 'large.npz'}"])


def test_a_schedule_that_has_ended_is_not_prolonged(data: str, tmp_path: Path) -> None:
    run = pretrain("simclr", tmp_path / "run", overrides=(data, *GIVEN, "epochs=1"))
    with pytest.raises(UserError, match=r"has come to its end \(optimizer.schedule=cosine\)"):
        train_more(run.folder, 1)
    assert not (tmp_path / "run-2-epochs").exists()
