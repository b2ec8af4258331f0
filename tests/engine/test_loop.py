"""The training loop: exact resume, accumulation, divergence, broken checkpoints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlabeled import backbones
from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.data import ImageSet
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.engine.loop import Hardware, Keeping, train
from unlabeled.engine.metrics import MetricsFile, read_metrics
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.ssl.method import Batch, DataInfo, Method, Step
from unlabeled.ssl.methods import METHODS
from unlabeled.ssl.self_distillation import SelfDistillation
from unlabeled.ssl.whole_batch import WholeBatchMethod

MEAN, STD = (0.5,), (0.25,)
CPU = Hardware("cpu")
N, BATCH, EPOCHS = 72, 24, 2  # three steps an epoch


def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 1, 16, 16), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, np.arange(N) % 4, name="noise")


def method(name: str, **settings: Any) -> Method:
    if name in ("mae", "simmim", "ijepa", "data2vec", "ibot", "dinov2"):
        arguments = {"patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
        backbone = backbones.create(
            "vit_tiny_patch16_224", in_chans=1, image_size=16, mean=MEAN, std=STD, seed=1, **arguments
        )
    else:
        arguments = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16), "stem_stride": 1 if name == "spark" else 2}
        backbone = backbones.create(
            "resnet10_small", in_chans=1, image_size=16, mean=MEAN, std=STD, seed=1, **arguments
        )
    torch.manual_seed(3)
    config = METHODS[name].Config(**settings)
    return METHODS[name](config, backbone, DataInfo(N, 1, 16, 16, 4, MEAN, STD))


SETTINGS: dict[str, dict[str, Any]] = {
    "rotation": {},
    "simclr": {},
    "swav": {"prototypes": 8, "queue": 48, "freeze_steps": 4},
    "moco": {"projection_dim": 8, "queue": 48},
    "mocov3": {"projection_dim": 8, "hidden_dim": 16},
    "nnclr": {"projection_dim": 8, "hidden_dim": 16, "predictor_dim": 16, "queue": 48},
    "byol": {"projection_dim": 8, "hidden_dim": 16, "predictor": "direct"},
    "simsiam": {"projection_dim": 16, "predictor_dim": 8},
    "barlow_twins": {"projection_dim": 16},
    "vicreg": {"projection_dim": 16},
    "lejepa": {"projection_dim": 8, "hidden_dim": 16},
    "visreg": {"projection_dim": 8, "hidden_dim": 16},
    "dino": {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8},
    "ibot": {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8},
    "dinov2": {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8},
    "ncl": {},
    "supcon": {},
    "sla": {},
    "mae": {"decoder_dim": 16, "decoder_heads": 2},
    "simmim": {"mask_unit": 8},
    "ijepa": {"predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2},
    "data2vec": {"layers": 1},
    "spark": {"decoder_dim": 16},
    "random_teacher": {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8},
    "supervised": {},
}


def run(model: Method, folder: Path, resume: bool = False, stop: int | None = None, **options: Any) -> None:
    config = OptimizerConfig(
        name="adamw", lr=1e-3, weight_decay=0.1, warmup_epochs=1, accumulate=options.pop("accumulate", 1)
    )
    count = 2 if isinstance(model, WholeBatchMethod | SelfDistillation) else 1
    views = Views((ViewSpec(count=count, crop="resized", scale=(0.5, 1.0), flip=0.5),), MEAN, STD)

    def observer(model: Method, batch: Batch, step: Step) -> dict[str, float]:
        return {"seen": float(step.epoch)}

    train(
        model,
        images(),
        views,
        config,
        epochs=EPOCHS,
        batch_size=BATCH,
        seed=7,
        hardware=CPU,
        keeping=Keeping(folder, log_every=2, save_seconds=0.0),
        observer=observer,
        resume=resume,
        max_steps=stop,
    )


def same(one: nn.Module, two: nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    whole = method(name, **SETTINGS[name])
    run(whole, tmp_path / "whole")
    for stop in (1, 4):
        first, second = (method(name, **SETTINGS[name]) for _ in range(2))
        folder = tmp_path / f"stopped-{stop}"
        run(first, folder, stop=stop)
        assert not same(first, whole)
        run(second, folder, resume=True)
        assert same(second, whole)
        rows, expected = (read_metrics(f / "metrics.csv") for f in (folder, tmp_path / "whole"))
        for row in rows + expected:
            row.pop("images_per_second", None)
        assert rows == expected


def test_accumulated_parts_give_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    class Mean(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            return {"loss": self.backbone(batch.views[0]).mean()}

    def build() -> Mean:
        torch.manual_seed(0)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        return Mean(None, linear, DataInfo(N, 1, 16, 16))

    whole, parts = build(), build()
    run(whole, tmp_path / "a")
    run(parts, tmp_path / "b", accumulate=3)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    rows, expected = (read_metrics(tmp_path / name / "metrics.csv") for name in ("b", "a"))
    assert len(rows) == len(expected)  # a part of the first batch is not a step
    for ours, theirs in zip(rows, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"images_per_second"}:
            assert float(ours[key]) == pytest.approx(float(theirs[key]), rel=1e-4, abs=1e-6), key


def test_a_loss_of_the_whole_batch_may_be_accumulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def build() -> Method:
        torch.manual_seed(0)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(256, 8))
        vars(linear)["num_features"] = 8
        config = METHODS["moco"].Config(projection_dim=4, queue=48)
        return METHODS["moco"](config, linear, DataInfo(N, 1, 16, 16))

    whole, parts, normed = build(), build(), method("simclr")
    run(whole, tmp_path / "a")
    run(parts, tmp_path / "b", accumulate=3)
    for (key, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), key
    assert "BatchNorm" not in capsys.readouterr().err
    run(normed, tmp_path / "c", accumulate=3)
    assert "optimizer.accumulate=3: BatchNorm normalises each part" in capsys.readouterr().err


def test_a_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Explodes(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            loss = self.backbone(batch.views[0]).mean()
            return {"loss": loss * float("nan") if step.number == 3 else loss}

    model = Explodes(None, nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), DataInfo(N, 1, 16, 16))
    with pytest.raises(Diverged, match=r"nan at step 4; the last good checkpoint \(step 3\)"):
        run(model, tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["step"] == 3
    assert all(torch.isfinite(v).all() for v in saved["method"].values())

    class Never(Method):
        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            return {"loss": self.backbone(batch.views[0]).mean() * float("nan")}

    model = Never(None, nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), DataInfo(N, 1, 16, 16))
    (tmp_path / "early").mkdir()
    with pytest.raises(Diverged, match="nan at step 1; it was before the first checkpoint"):
        run(model, tmp_path / "early")


def test_a_signal_saves_and_says_so(tmp_path: Path) -> None:
    import os
    import signal

    class Kills(Method):
        armed = True

        def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
            if step.number == 2 and self.armed:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"loss": self.backbone(batch.views[0]).mean()}

    def build() -> Kills:
        torch.manual_seed(0)
        return Kills(None, nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), DataInfo(N, 1, 16, 16))

    stopped, resumed, whole = build(), build(), build()
    with pytest.raises(Interrupted, match="step 3 of 6"):
        run(stopped, tmp_path / "a")
    resumed.armed = whole.armed = False
    run(resumed, tmp_path / "a", resume=True)
    with ThreadPoolExecutor(1) as other_thread:  # which may not handle signals, and trains all the same
        other_thread.submit(run, whole, tmp_path / "b").result()
    assert same(resumed, whole)


def test_checkpoints_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        run(method("rotation"), tmp_path, resume=True)
    run(method("rotation"), tmp_path, stop=2)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a whole checkpoint"):
        run(method("rotation"), tmp_path, resume=True)
    torch.save({**content, "total": 99}, path)
    with pytest.raises(UserError, match="belongs to a training of 99"):
        run(method("rotation"), tmp_path, resume=True)
    torch.save({**content, "schema": 0}, path)
    with pytest.raises(UserError, match="another version"):
        run(method("rotation"), tmp_path, resume=True)


def test_a_checkpoint_cannot_execute_anything(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "owned",)

    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save({"step": Evil()}, path)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        run(method("rotation"), tmp_path, resume=True)
    assert not (tmp_path / "owned").exists()


def test_metrics_survive_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, 0)
    file.append(2, 0.5, {"loss": 1.0})
    file.append(4, 1.0, {"loss": 0.5, "rankme": 9.0})
    with path.open("a") as handle:
        handle.write("6,1.5,0.")
    assert [row["step"] for row in read_metrics(path)] == ["2", "4"]
    MetricsFile(path, 3)
    assert read_metrics(path) == [{"step": "2", "epoch": "0.5000", "loss": "1"}]
