"""`unlabeled forget` on a run without labels, by methods that go on with its own loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.runs.folder import Run
from unlabeled.runs.own_loss import own_loss_of
from unlabeled.verbs.forget import forget
from unlabeled.verbs.pretrain import pretrain

SHORT = ("epochs=1", "lr=1e-3", "batch_size=16")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of BYOL, whose teacher is kept, and one that trained nothing."""
    folder = tmp_path_factory.mktemp("encoder")
    set_quiet(True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    labels = np.arange(60) % 3
    np.savez(folder / "data.npz", x_train=pixels[:48], y_train=labels[:48], x_test=pixels[48:], y_test=labels[48:])
    small = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"
    common = (f"data=npz:{folder / 'data.npz'}", "batch_size=16", "health.every=0", small)
    pretrain("byol", folder / "byol", overrides=(*common, "epochs=2", "method.keep=teacher"))
    pretrain("random", folder / "random", overrides=(*common, "epochs=0"))
    pretrain("supervised", folder / "labels", overrides=(*common, "epochs=1"))
    yield folder
    set_quiet(False)


def test_an_encoder_forgets_with_its_own_loss_and_no_label_is_read(home: Path, tmp_path: Path) -> None:
    own = own_loss_of(Run(home / "byol"), "finetune")
    assert (own.steps, own.per_epoch, own.method.config.name) == (6, 3, "byol")
    found = forget(
        home / "byol",
        "random:25%",
        method="finetune",
        settings=SHORT,
        compare=["negative_gradient", "alignment_calibration"],
        retrain=False,
        out=tmp_path / "out",
    )
    assert [row.method for row in found.rows] == ["original", "finetune", "negative_gradient", "alignment_calibration"]
    assert all(row.measures["cka_forget_original"] < 1 for row in found.rows[1:])
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["method"]["read_labels"] is False
    again = forget(home / "byol", "random:25%", method="finetune", settings=SHORT, retrain=False, out=tmp_path / "out")
    assert again.rows[1].model == found.rows[1].model
    with pytest.raises(UserError, match=r"no checkpoints/last.ckpt \(none that was made to forget has one\)"):
        forget(tmp_path / "out", "random:25%", method="finetune", out=tmp_path / "next")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("random", "'random' of .* trained nothing; laf and lfssd do without"),
        ("labels", "'supervised' of .* reads labels"),
        ("byol/backbone", "is not a run, so nothing says which"),
    ],
)
def test_why_a_run_has_no_loss_to_go_on_with_is_said(home: Path, model: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        own_loss_of(Run(home / model), "finetune")
    assert "\n" not in str(caught.value)
