"""iBOT and DINOv2: what is hidden, the loss of patches, what keeps answers apart."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from unlabeled.backbones.tokens import tokens
from unlabeled.core.errors import UserError
from unlabeled.heads.tokens import TokenHeads
from unlabeled.ssl.dinov2 import DINOv2, DINOv2Config, koleo
from unlabeled.ssl.ibot import IBOT, IBOTConfig, patch_loss
from unlabeled.ssl.method import Batch
from unlabeled.ssl.sinkhorn import sinkhorn

SMALL = {"output_dim": 16, "hidden_dim": 24, "bottleneck_dim": 8}
CPU = torch.device("cpu")


def crops(batch=4, sizes=(28, 28, 20), dtype=torch.float32):
    draw = torch.Generator().manual_seed(3)
    views = [torch.randn(batch, 1, size, size, generator=draw, dtype=dtype) for size in sizes]
    return Batch(views, torch.arange(batch))


@pytest.fixture
def build(info, vit):
    def create(method=IBOT, **settings):
        backbone = vit(dynamic_img_size=True)
        torch.manual_seed(0)
        config = (IBOTConfig if method is IBOT else DINOv2Config)(**{**SMALL, **settings})
        return method(config, backbone, info).train()

    return create


def test_the_patch_loss_is_the_mean_over_a_crops_hidden_patches_then_over_crops():
    draw = torch.Generator().manual_seed(0)
    hidden = torch.tensor([[True, True, False], [False, False, False], [True, False, False]])
    scores, logits = torch.randn(2, 3, 5, generator=draw, dtype=torch.float64)
    targets, counts, expected = logits.softmax(dim=1), hidden.sum(dim=1), 0.0
    for row, crop in enumerate((0, 0, 2)):
        error = -sum(float(targets[row, k] * (scores[row] / 0.1).log_softmax(0)[k]) for k in range(5))
        expected += error / int(counts[crop]) / 3
    weights = (hidden / counts.clamp(min=1)[:, None]).flatten()[hidden.flatten()].double() / 3
    assert float(patch_loss(scores, targets, weights, 0.1)) == pytest.approx(expected, rel=1e-12)


def test_what_is_hidden_is_a_function_of_the_step_and_ranks_share_it_out(build, step):
    method, wide = build(), dataclasses.replace(step, batch_size=64)
    hidden = method.hide(64, wide, CPU)
    counts = hidden.mask.sum(dim=1)
    assert 0.35 < float((counts > 0).float().mean()) < 0.65
    masked = counts[counts > 0] / 49
    assert 0.07 < float(masked.min()) <= float(masked.max()) <= 0.5
    assert torch.equal(hidden.mask.flatten().nonzero().flatten(), hidden.where)
    torch.testing.assert_close(hidden.weights.sum(), (counts > 0).float().mean())
    assert not torch.equal(hidden.mask[:64], hidden.mask[64:])  # each crop has its own
    half = method.hide(32, dataclasses.replace(wide, first=32), CPU)
    assert torch.equal(half.mask, torch.cat([hidden.mask[32:64], hidden.mask[96:]]))
    assert not torch.equal(method.hide(64, dataclasses.replace(wide, number=1), CPU).mask, hidden.mask)


def test_the_student_sees_masks_the_teacher_does_not_and_both_losses_are_summed(build, step):
    method, batch = build(patch_weight=0.7, mask_share=1.0).double(), crops(dtype=torch.float64)
    with torch.no_grad():
        method.mask_token.normal_()
        for parameter in method.teacher.parameters():
            parameter.mul_(1.2)
    large = torch.cat(batch.views[:2])
    hidden = method.hide(4, step, CPU)
    student = tokens(method.backbone, large, hidden.mask, method.mask_token)
    teacher = tokens(method.teacher.backbone, large)
    head, other = method.head.image, method.teacher.head.image
    answers = (other(teacher.embedding) / 0.04).softmax(1).view(2, 4, 16)
    said = [*head(student.embedding).split(4), head(method.backbone(batch.views[2]))]
    pairs = [(i, v) for i in range(2) for v in range(3) if i != v]
    image = sum(-(answers[i] * (said[v] / 0.1).log_softmax(1)).sum(1).mean() for i, v in pairs) / len(pairs)
    error = (
        -(
            (other(teacher.patches.flatten(0, 1)) / 0.04).softmax(1)
            * (head(student.patches.flatten(0, 1)) / 0.1).log_softmax(1)
        )
        .sum(1)
        .view(8, 49)
    )
    patch = torch.stack([error[crop][hidden.mask[crop]].mean() for crop in range(8)]).mean()
    logged = method(batch, step)
    torch.testing.assert_close(logged["image_loss"], image.detach())
    torch.testing.assert_close(logged["patch_loss"], patch.detach())
    torch.testing.assert_close(logged["loss"], image + 0.7 * patch)
    method.after_step(dataclasses.replace(step, number=1))
    seen = other(teacher.patches.flatten(0, 1))[hidden.where].mean(dim=0)
    assert not torch.allclose(method.patch_centre.value, 0.1 * seen)  # the teacher has moved, its logits had not
    assert method.patch_centre.value.abs().sum() > 0


@pytest.mark.parametrize("method", [IBOT, DINOv2])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_gradients_reach_everything_even_where_nothing_is_hidden(method, share, build, step):
    found = build(method, mask_share=share)
    logged = found(crops(), step)
    logged["loss"].backward()
    trained = [p for p in found.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert float(found.mask_token.grad.abs().sum() > 0) == share
    assert float(logged["patch_loss"] > 0) == share
    grouped = [p for group in found.parameter_groups() for p in group.parameters]
    assert {id(p) for p in grouped} == {id(p) for p in trained}
    assert len(grouped) == len(trained)


def test_both_heads_are_held_still_at_first(build, step):
    method = build(DINOv2)
    assert {id(p) for p in method.last_layers()} == {
        id(method.head.image.last.weight),
        id(method.head.patch.last.weight),
    }
    assert build(DINOv2, shared_head=True).head.patch is None
    method(crops(), step)["loss"].backward()
    method.after_backward(step)
    assert all(p.grad is None for p in method.last_layers())


def test_heads_are_shared_or_not():
    one, other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    images, patches = torch.randn(2, 4), torch.randn(5, 4)
    for heads, expected in ((TokenHeads(one), one), (TokenHeads(one, other), other)):
        torch.testing.assert_close(heads(images, patches)[0], one(images))
        torch.testing.assert_close(heads(images, patches)[1], expected(patches))


def test_koleo_is_the_log_distance_to_the_nearest_other():
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    distances = [min(np.linalg.norm(unit[i] - unit[j]) for j in range(7) if j != i) for i in range(7)]
    assert float(koleo(3 * z)) == pytest.approx(-np.log(distances).mean(), rel=1e-6)
    assert koleo(torch.ones(3, 5)).isfinite()


def test_dinov2s_targets_are_sinkhorns_and_koleo_looks_at_the_embeddings_of_the_student(build, step):
    method, batch = build(DINOv2, koleo_weight=0.3), crops()
    logits = torch.randn(8, 16)
    for found in method.targets(logits, logits, step):
        torch.testing.assert_close(found, sinkhorn(logits, 0.04, 3))
    hidden = method.hide(4, step, CPU)
    seen = tokens(method.backbone, torch.cat(batch.views[:2]), hidden.mask, method.mask_token).embedding
    logged = method(batch, step)
    expected = koleo(seen[:4]) + koleo(seen[4:])
    torch.testing.assert_close(logged["koleo"], expected.detach())
    torch.testing.assert_close(
        logged["loss"], logged["image_loss"] + logged["patch_loss"] + 0.3 * expected, rtol=1e-5, atol=1e-5
    )


def test_sinkhorn_takes_no_rows():
    assert sinkhorn(torch.zeros(0, 5)).shape == (0, 5)


@pytest.mark.parametrize("method", [IBOT, DINOv2])
def test_a_collapse_is_named(method, build, step):
    ceiling, later = math.log(16), dataclasses.replace(step, number=10)
    said = build(method).warnings({"target_entropy": ceiling, "batch_entropy": ceiling}, later)
    assert said is not None
    assert said.startswith(f"{method.Config().name} has collapsed: the teacher's answers are almost uniform")


def test_what_does_not_fit_is_refused(build, info, step, resnet, vit):
    with pytest.raises(UserError, match="'ibot' needs a plain vision transformer"):
        IBOT(IBOTConfig(**SMALL), resnet(), info)
    with pytest.raises(UserError, match="'dinov2' needs two large crops"):
        build(DINOv2)(crops(sizes=(28, 20)), step)
    with pytest.raises(UserError, match="'ibot' got views of 20x20 pixels, its backbone takes 28x28"):
        build()(crops(sizes=(20, 20)), step)
    with pytest.raises(ValueError, match="mask_ratio must be"):
        IBOTConfig(mask_ratio=(0.5, 0.1))
