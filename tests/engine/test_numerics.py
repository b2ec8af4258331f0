"""Trouble with numbers: each kind is named, the last good checkpoint stays good, and a roll-back is exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlabeled.core.errors import Diverged, Interrupted
from unlabeled.data import ImageSet
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.engine.gradients import GradientNorms, finite, gradient_norm
from unlabeled.engine.loop import ROLLBACKS, Hardware, Keeping, Precision, train
from unlabeled.engine.metrics import read_metrics
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.ssl.method import Batch, DataInfo, Method, Step
from unlabeled.ssl.methods import METHODS

INFO = DataInfo(64, 1, 8, 8)


def fit(
    model: Method,
    folder: Path,
    lr: float = 0.01,
    precision: Precision = "32-true",
    resume: bool = False,
    rollback: bool = False,
    epochs: int = 3,
    clip: float | None = None,
    name: str = "sgd",
) -> int:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), dtype=np.uint8)
    return train(
        model,
        ImageSet.from_arrays(pixels, None, name="noise"),
        Views((ViewSpec(),), (0.5,), (0.25,)),
        OptimizerConfig(name=name, lr=lr, schedule="constant", momentum=0.0, clip=clip),
        epochs=epochs,
        batch_size=16,
        seed=3,
        hardware=Hardware("cpu", precision),
        keeping=Keeping(folder, log_every=2, save_seconds=0.0, rollback=rollback),
        resume=resume,
    )


class Quadratic(Method):
    """Gradient descent on a parabola of curvature 60: a learning rate above 1/30 diverges, and by itself."""

    stop_at = -1

    def __init__(self) -> None:
        super().__init__(None, nn.Identity(), INFO)
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        if step.number == self.stop_at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        noise = batch.views[0].mean()
        loss = 30 * (self.weight - noise).square().sum()
        return {"loss": loss * torch.inf if float(loss) > 1e6 else loss}


def test_an_infinite_gradient_under_a_finite_loss_is_named_and_never_saved(tmp_path: Path) -> None:
    class Root(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            weight = self.backbone.weight
            return {"loss": (weight * 0).sum().sqrt() if step.number == 5 else weight.square().mean()}

    model = Root(None, nn.Linear(4, 4), INFO)
    with pytest.raises(Diverged, match=r"gradients became infinite .exploding gradients.*at step 6.*step 5"):
        fit(model, tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["step"] == 5
    assert all(torch.isfinite(value).all() for value in saved["method"].values())


def test_a_divergence_that_grew_is_called_exploding(tmp_path: Path) -> None:
    class Cliff(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            loss = self.backbone.weight.square().mean()
            factor = 1.0 if step.number < 6 else 1e5 if step.number == 6 else float("inf")
            return {"loss": loss * factor}

    with pytest.raises(Diverged, match=r"the loss became (inf|nan), after exploding gradients: a norm of \S+, usual"):
        fit(Cliff(None, nn.Linear(4, 4), INFO), tmp_path, lr=1e-6)


def test_a_jump_is_warned_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Jump(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            return {"loss": self.backbone.weight.square().mean() * (1e4 if step.number == 6 else 1.0)}

    fit(Jump(None, nn.Linear(4, 4), INFO), tmp_path, lr=1e-6)
    assert "warning: exploding gradients: a norm of" in capfd.readouterr().err
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if "grad_norm" in row]
    assert float(rows[3]["grad_norm_max"]) > 1000 * float(rows[2]["grad_norm_max"])


def test_loss_scale_overflow_is_named(tmp_path: Path) -> None:
    class Overflows(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            return {"loss": self.backbone.weight.sum().sqrt() * 0 + (self.backbone.weight * 0).sum().sqrt()}

    with pytest.raises(Diverged, match=r"loss scale fell to 0\.5 .loss-scale overflow"):
        fit(Overflows(None, nn.Linear(4, 4), INFO), tmp_path, precision="16-mixed", epochs=9, clip=1.0)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists() or all(
        torch.isfinite(v).all()
        for v in torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["method"].values()
    )


def test_skipped_steps_of_float16_are_counted(tmp_path: Path) -> None:
    class Once(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            weight = self.backbone.weight
            return {"loss": (weight * 0).sum().sqrt() if step.number == 2 else weight.square().mean()}

    model = Once(None, nn.Linear(4, 4), INFO)
    fit(model, tmp_path, precision="16-mixed", name="adamw")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row.get("overflows") for row in rows] == [None, "1", None, None, None, None]
    assert [float(row["loss_scale"]) for row in rows][:2] == [65536, 32768]
    assert finite(model.parameters())


def test_rollback_lowers_the_rate_until_training_holds(tmp_path: Path) -> None:
    model = Quadratic()
    assert fit(model, tmp_path, lr=0.1, rollback=True, epochs=8) == 32
    record = json.loads((tmp_path / "rollbacks.json").read_text())
    assert [entry["rate"] for entry in record] == [0.5, 0.25]
    assert all(entry["to"] % 4 == 0 and entry["to"] < entry["at"] and "loss" in entry["why"] for entry in record)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert float(rows[-1]["lr"]) == pytest.approx(0.025)
    assert rows[-1]["rollbacks"] == "2"
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps))  # rows of steps that were undone are gone
    assert finite(model.parameters())


def test_a_rolled_back_training_is_repeated_and_resumed_exactly(tmp_path: Path) -> None:
    whole, again = Quadratic(), Quadratic()
    fit(whole, tmp_path / "whole", lr=0.1, rollback=True, epochs=8)
    fit(again, tmp_path / "again", lr=0.1, rollback=True, epochs=8)
    assert torch.equal(whole.weight, again.weight)
    for stop in (1, 6, 14, 21):
        first, second = Quadratic(), Quadratic()
        first.stop_at = stop
        folder = tmp_path / str(stop)
        with pytest.raises(Interrupted):
            fit(first, folder, lr=0.1, rollback=True, epochs=8)
        fit(second, folder, lr=0.1, rollback=True, epochs=8, resume=True)
        assert torch.equal(second.weight, whole.weight)
        assert (folder / "rollbacks.json").read_text() == (tmp_path / "whole" / "rollbacks.json").read_text()


def test_rollbacks_are_limited(tmp_path: Path) -> None:
    class Never(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            loss = self.backbone.weight.square().mean()
            return {"loss": loss * float("nan") if step.number == 5 else loss}

    with pytest.raises(Diverged, match=f"Rolled back {ROLLBACKS} times already"):
        fit(Never(None, nn.Linear(4, 4), INFO), tmp_path, rollback=True)
    assert len(json.loads((tmp_path / "rollbacks.json").read_text())) == ROLLBACKS


def test_stop_is_the_default(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="on_divergence=rollback"):
        fit(Quadratic(), tmp_path, lr=0.1, epochs=8)
    assert not (tmp_path / "rollbacks.json").exists()
    assert not (tmp_path / "checkpoints" / "epoch.ckpt").exists()


@pytest.mark.parametrize("largest", [None, 0.5, 1e6])
def test_norm_and_clipping_are_torchs(largest: float | None) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(7, 5)
    for model in (ours, theirs):
        model(x).square().sum().backward()
    norm = gradient_norm(ours.parameters(), largest)
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), largest or float("inf"))
    torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_norms_survive_a_checkpoint() -> None:
    one = GradientNorms()
    for value in (1.0, 2.0, float("inf"), 3.0):
        one.add(torch.tensor(value))
    other = GradientNorms.from_state(one.state())
    assert other.close() == one.close() == {"grad_norm": 2.0, "grad_norm_max": 3.0, "overflows": 1.0}
    assert other.usual == one.usual == 2.0
    other.add(torch.tensor(1000.0))
    assert other.explosion() == "exploding gradients: a norm of 1e+03, usual is 2"


def test_dead_prototypes_are_named() -> None:
    def swav(**settings: Any) -> Method:
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        backbone.num_features = 8  # type: ignore[assignment]
        return METHODS["swav"](METHODS["swav"].Config(prototypes=16, freeze_steps=0, **settings), backbone, INFO)

    torch.manual_seed(0)
    method = swav()
    steps = [Step(n, per_epoch=4, total=8, seed=0, batch_size=64) for n in range(8)]
    views = [torch.randn(64, 1, 8, 8) for _ in range(2)]
    for step in steps[:4]:
        method.before_step(step)
        method(Batch(views, torch.arange(64)), step)
    assert method.warnings({"loss": 1.0}, steps[3]) is None
    with torch.no_grad():
        method.prototypes.weight[3:] = -method.prototypes.weight[0]  # type: ignore[operator, union-attr, index]
        method.codes = lambda large, step: method.prototypes(large)  # type: ignore[assignment, operator, method-assign]
    for step in steps[4:]:
        method.before_step(step)
        method(Batch(views, torch.arange(64)), step)
    warning = method.warnings({"loss": 1.0}, steps[7])
    assert warning is not None
    assert "of 16 prototypes are dead" in warning
