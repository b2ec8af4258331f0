"""Distillation: the losses against their formulas, a teacher of another kind, what is cached, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError
from unlabeled.core.model_input import LUMA
from unlabeled.ssl.distill import Distill, DistillConfig, cosine_distance, relational, soft_labels
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.verbs.pretrain import pretrain


def test_losses_are_their_formulas_in_float64() -> None:
    torch.manual_seed(0)
    student, teacher, queue = torch.randn(5, 7), torch.randn(5, 7), torch.randn(11, 7)
    s, t, q = (F.normalize(x.double(), dim=1).numpy() for x in (student, teacher, queue))
    assert float(cosine_distance(student, teacher)) == pytest.approx(1 - np.mean((s * t).sum(1)), abs=1e-6)

    def softmax(rows: Any) -> Any:
        rows = np.exp(rows - rows.max(1, keepdims=True))
        return rows / rows.sum(1, keepdims=True)

    total = 0.0
    for row in range(5):  # SEED: the own embedding of the teacher is one of the candidates
        candidates = np.concatenate([t[row : row + 1], q])
        wanted = softmax((candidates @ t[row])[None] / 0.01)[0]
        total -= (wanted * np.log(softmax((candidates @ s[row])[None] / 0.2)[0])).sum() / 5
    assert float(relational(student, teacher, queue, 0.2, 0.01)) == pytest.approx(total, rel=1e-5)
    probabilities = softmax(teacher.double().numpy() / 2)
    wanted = -(probabilities * np.log(softmax(student.double().numpy() / 2))).sum(1).mean()
    assert float(soft_labels(student, teacher, 2.0)) == pytest.approx(wanted, rel=1e-5)


def frozen(channels: int = 3, size: int = 20, seed: int = 3) -> FrozenTeacher:
    model = backbones.create(
        "resnet10_small",
        in_chans=channels,
        image_size=size,
        mean=[0.4] * channels,
        std=[0.2] * channels,
        seed=seed,
        stem_stride=2,
    )
    return FrozenTeacher(model := Backbone(model).eval(), model, "theirs", f"digest {seed}")


def student(info: DataInfo, teachers: list[FrozenTeacher], **settings: Any) -> Distill:
    torch.manual_seed(0)
    backbone = backbones.create(
        "resnet10_small", in_chans=1, image_size=28, mean=info.mean, std=info.std, seed=0, stem_stride=2
    )
    return Distill(DistillConfig(teacher=("theirs",), hidden_dim=32, **settings), backbone, info, teachers)


def test_a_teacher_reads_images_of_any_size_and_channels() -> None:
    teacher = frozen()
    gray = torch.rand(2, 1, 28, 28)
    larger = F.interpolate(gray.expand(-1, 3, -1, -1), (20, 20), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(teacher(gray), teacher.model.model((larger - 0.4) / 0.2))
        colour = torch.rand(2, 3, 16, 16)
        mixed = sum(weight * colour[:, i : i + 1] for i, weight in enumerate(LUMA))
        torch.testing.assert_close(frozen(channels=1, size=20)(colour), frozen(channels=1, size=20)(mixed))
    assert not teacher.train().model.training
    with pytest.raises(UserError, match="takes images of 3 channels, the data has 5"):
        teacher.expect_channels(5)


class Pixels:
    fingerprint = "these"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randint(0, 256, (32, 1, 28, 28), dtype=torch.uint8, generator=generator)
        self.asked = 0

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, rows: Any) -> torch.Tensor:
        self.asked += len(rows)
        return self.images[torch.as_tensor(rows)]


@pytest.mark.parametrize("loss", ["cosine", "relational", "labels"])
@pytest.mark.parametrize("sees", ["image", "view"])
def test_it_learns_what_its_teachers_say(loss: str, sees: str, info: DataInfo, step: Step, tmp_path: Path) -> None:
    info = replace(info, num_images=32)
    method = student(info, [frozen(seed=3), frozen(channels=1, size=28, seed=4)], loss=loss, sees=sees, queue=16)
    images = Pixels()
    cpu = torch.device("cpu")
    method.prepare(images, seed=0, batch_size=16, cache=tmp_path, device=cpu)  # type: ignore[arg-type]
    asked = 32 if sees == "image" or loss == "cosine" else 0
    assert images.asked == asked
    everything = method.ask(images.images.float() / 255).mean(0) if loss == "cosine" else torch.zeros(())
    torch.testing.assert_close(method.middle, everything.expand_as(method.middle), atol=2e-3, rtol=0)
    pixels = images.images[:8].float() / 255
    batch = Batch([(pixels - 0.3) / 0.35], torch.arange(8))
    if sees == "image":
        with torch.no_grad():
            torch.testing.assert_close(method.targets[:8].float(), method.ask(pixels), atol=2e-3, rtol=2e-3)
        method.prepare(images, seed=0, batch_size=16, cache=tmp_path, device=cpu)  # type: ignore[arg-type]
        assert images.asked == asked  # from the cache
    if loss != "labels":
        assert torch.allclose(method.ask(pixels).norm(dim=1), torch.tensor(2.0).sqrt())
    if loss == "cosine":
        with torch.no_grad():
            said = method.head(method.backbone(batch.views[0]))
            wanted = cosine_distance(said, method.ask(pixels) - method.middle)
        torch.testing.assert_close(method(batch, step)["loss"].detach(), wanted, atol=2e-3, rtol=0)
    if loss == "relational":  # with an empty queue there is nothing to be alike to
        assert float(method(batch, step)["loss"]) == pytest.approx(0, abs=1e-6)
        assert int(method.queue.pushed) == 8
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    losses = []
    for _ in range(6):
        found = method(batch, step)["loss"]
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(float(found.detach()))
    assert losses[-1] < losses[2]  # by then the queue is full
    assert all(p.grad is None for teacher in method.teachers for p in teacher.parameters())
    assert not any("teacher" in name or "target" in name for name in method.state_dict())
    assert (method.kept().classifier is not None) == (loss == "labels")


def test_a_run_learns_from_a_folder_and_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", images=rng.integers(0, 256, (60, 16, 16), dtype=np.uint8))
    theirs = backbones.create("resnet18_small", in_chans=3, image_size=20, mean=[0.5] * 3, std=[0.5] * 3, seed=1)
    backbones.save(theirs, tmp_path / "theirs")
    given = (f"data=npz:{tmp_path / 'images.npz'}", f"method.teacher={tmp_path / 'theirs'}", "method.size=24")
    quick = ("epochs=2", "batch_size=16", "health.every=0", "output.logger=none", "method.hidden_dim=32")
    run = pretrain("distill", tmp_path / "run", overrides=(*given, *quick))
    (step,) = backbones.read_lineage(run.backbone)
    assert step.did == "distill"
    digest = backbones.digest_of(tmp_path / "theirs" / "model.safetensors")
    assert step.teachers == (f"{tmp_path / 'theirs'} ({digest})",)
    labels = (*given, *quick, "method.loss=labels")
    with pytest.raises(UserError, match="has no classifier; make one with: unlabeled finetune"):
        pretrain("distill", tmp_path / "labels", overrides=labels)
    theirs.reset_classifier(5)
    backbones.save(theirs, tmp_path / "theirs")
    taught = pretrain("distill", tmp_path / "labels", overrides=labels)
    from unlabeled.runs.classifier import load_classifier

    found = load_classifier(taught.folder)
    assert found is not None
    assert isinstance(found[0], nn.Linear)
    assert found[0].out_features == 5
