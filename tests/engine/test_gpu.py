"""What only a GPU can show: batches arrive whole through streams, a step asks for no value, every method trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled import backbones
from unlabeled.data import ImageSet
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.engine import transfer
from unlabeled.engine.batches import BatchStream, Schedule, Shuffled
from unlabeled.engine.metrics import read_metrics
from unlabeled.engine.optim import OptimizerConfig, build_optimizer
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.methods import METHODS
from unlabeled.verbs.pretrain import pretrain

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
PIXELS = np.random.default_rng(0).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def batches(device: str) -> BatchStream:
    schedule = Schedule(epochs=2, per_epoch=9, batch_size=32, accumulate=1, seed=5)
    images = ImageSet.from_arrays(PIXELS, np.arange(300) % 3, name="t")
    return BatchStream(images, Shuffled(300, 32), schedule, 0, with_labels=True, device=torch.device(device))


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_those_of_the_cpu(resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SHARE", 0.1 if resident else 0.0)
    count = 0
    for ours, expected in zip(batches("cuda"), batches("cpu"), strict=True):
        torch.cuda._sleep(10_000_000)  # the next copies run ahead of the computation
        for name in ("images", "rows", "labels"):
            assert ours[name].device.type == "cuda"
            assert torch.equal(ours[name].cpu(), expected[name])
        count += 1
    assert count == 18


def test_a_step_does_not_wait() -> None:
    small = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
    model = backbones.create("resnet10_small", in_chans=3, image_size=32, mean=MEAN, std=STD, seed=1, **small)
    method = METHODS["simclr"](METHODS["simclr"].Config(), model, DataInfo(300, 3, 32, 32, 3, MEAN, STD)).cuda()
    update = build_optimizer(OptimizerConfig(name="sgd", lr=0.01), method.parameter_groups())
    views = Views((ViewSpec(count=2, crop="resized", flip=0.5, jitter=0.8, brightness=0.4),), MEAN, STD)
    images = torch.from_numpy(PIXELS[:32]).cuda()

    def one(number: int) -> None:
        step = Step(number, 9, 18, 0, 32)
        drawn = views(images, key=(0, number), first=0, total=32)
        torch.autograd.backward(method(Batch(drawn, torch.arange(32)), step)["loss"])
        update.step()
        update.zero_grad()

    one(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        one(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["rotation", "gsimclr", "swav", "mae", "random_teacher", "supervised"])
def test_every_method_is_trained_and_read_there(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=PIXELS.transpose(0, 2, 3, 1), y=np.arange(300) % 3)
    settings = (f"data=npz:{tmp_path / 'data.npz'}", "epochs=2", "batch_size=64", "health.every=1", "health.images=100")
    run = pretrain(name, tmp_path / "run", overrides=(*settings, "output.logger=none", "hardware.accelerator=gpu"))
    rows = read_metrics(run.folder / "metrics.csv")
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert sum("rankme" in row for row in rows) == 2
    assert run.finished()
