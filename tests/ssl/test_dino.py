from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.engine.optim import OptimizerConfig, build_optimizer
from unlabeled.ssl.dino import DINO, DINOConfig
from unlabeled.ssl.method import Batch
from unlabeled.ssl.self_distillation import entropies

SMALL = {"output_dim": 16, "hidden_dim": 24, "bottleneck_dim": 8}


class Means(nn.Module):
    """A backbone for crops of any size."""

    num_features = 16

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 16)
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return self.linear(nn.functional.adaptive_avg_pool2d(images, 2).flatten(1))


def build(info, backbone=None, **settings):
    torch.manual_seed(0)
    return DINO(DINOConfig(**{**SMALL, **settings}), backbone or Means(), info).train()


def crops(batch=8, sizes=(6, 6, 4, 4), seed=3, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    views = [torch.randn(batch, 1, size, size, generator=draw, dtype=dtype) for size in sizes]
    return Batch(views, torch.arange(batch))


def test_the_loss_is_the_papers_with_centre_and_temperatures(info, step):
    method, batch = (
        build(info, teacher_temperature=0.05, teacher_temperature_start=0.05).double(),
        crops(dtype=torch.float64),
    )
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.3)
    method.centre.value.copy_(torch.linspace(-0.1, 0.1, 16))
    expected = 0.0
    for i in (0, 1):
        logits = method.teacher.head(method.teacher.backbone(batch.views[i])) - method.centre.value
        target = (logits / 0.05).exp() / (logits / 0.05).exp().sum(dim=1, keepdim=True)
        for v in range(4):
            if v != i:
                student = method.head(method.backbone(batch.views[v])) / 0.1
                expected -= (target * (student - student.exp().sum(dim=1, keepdim=True).log())).sum(dim=1).mean() / 6
    torch.testing.assert_close(method(batch, step)["loss"], expected)


def test_the_student_sees_all_crops_and_the_teacher_the_large_ones(info, step):
    method = build(info)
    method(crops(), step)
    assert method.backbone.seen == [(16, 1, 6, 6), (16, 1, 4, 4)]
    assert method.teacher.backbone.seen == [(16, 1, 6, 6)]


def test_the_centre_follows_after_the_step(info, step):
    method, batch = build(info, centre_momentum=0.8), crops()
    logits = method.teacher(torch.cat(batch.views[:2]))
    method(batch, step)
    assert not method.centre.value.any()
    method.after_step(dataclasses.replace(step, number=1))
    torch.testing.assert_close(method.centre.value, 0.2 * logits.mean(dim=0))
    method.eval()(batch, step)  # a look at the method is no step
    method.after_step(dataclasses.replace(step, number=2))
    torch.testing.assert_close(method.centre.value, 0.2 * logits.mean(dim=0))


def test_accumulated_parts_are_the_whole_batch(info, step):
    whole, parts, batch = build(info), build(info), crops()
    whole(batch, step)["loss"].backward()
    for share in (slice(0, 4), slice(4, 8)):
        (parts(Batch([view[share] for view in batch.views], batch.rows[share]), step)["loss"] / 2).backward()
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for method in (whole, parts):
        method.after_step(dataclasses.replace(step, number=1))
    torch.testing.assert_close(parts.centre.value, whole.centre.value)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_last_layer_stays_in_the_first_epochs(name, info, step):
    method = build(info, freeze_epochs=2)
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), method.parameter_groups())
    for number in range(6):
        now = dataclasses.replace(step, number=number, per_epoch=2)
        before = method.head.last.weight.detach().clone()
        optimizer.zero_grad()
        method(crops(), now)["loss"].backward()
        method.after_backward(now)
        optimizer.step()
        assert torch.equal(before, method.head.last.weight) == (number < 4)


def test_the_teachers_temperature_warms_up(step):
    config = DINOConfig(teacher_temperature_start=0.04, teacher_temperature=0.07, teacher_temperature_epochs=3)
    found = [config.teacher_temperature_at(dataclasses.replace(step, number=number)) for number in (0, 15, 30, 90)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert DINOConfig(teacher_temperature=0.06).teacher_temperature_at(step) == 0.06


def test_entropies_tell_both_collapses_from_health():
    sure = torch.eye(8)
    for targets, own, batch in (
        (sure, 0, math.log(8)),
        (torch.full((8, 8), 1 / 8), math.log(8), math.log(8)),
        (sure[:1].expand(8, 8), 0, 0),
    ):
        found = entropies(targets.view(2, 4, 8))
        assert float(found["target_entropy"]) == pytest.approx(own, abs=1e-6)
        assert float(found["batch_entropy"]) == pytest.approx(batch, abs=1e-6)


@pytest.mark.parametrize(
    ("own", "batch", "said"),
    [(0.999, 1.0, "almost uniform"), (0.0, 0.001, "the same few outputs"), (0.3, 0.305, "the same few outputs")],
)
def test_the_collapse_that_happened_is_named(own, batch, said, info, step):
    method, ceiling = build(info), math.log(16)
    logged = {"target_entropy": own * ceiling, "batch_entropy": batch * ceiling}
    later = dataclasses.replace(step, number=10)
    assert said in (method.warnings(logged, later) or "")
    assert method.warnings(logged, step) is None  # the last layer is still frozen
    assert method.warnings({"target_entropy": 0.2 * ceiling, "batch_entropy": 0.9 * ceiling}, later) is None


def test_transformers_take_small_crops_where_their_positions_are_interpolated(info, step, vit):
    method = build(info, vit(dynamic_img_size=True))
    method(crops(batch=4, sizes=(28, 28, 20)), step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_two_large_crops_are_needed(info, step):
    with pytest.raises(UserError, match="'dino' needs two large crops"):
        build(info)(crops(sizes=(6, 4)), step)


def test_batchnorm_in_the_head_is_a_choice(info):
    def norms(method):
        return sum(isinstance(m, nn.BatchNorm1d) for m in method.head.modules())

    assert (norms(build(info)), norms(build(info, hidden_norm=True))) == (0, 2)
