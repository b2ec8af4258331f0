from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from torch import nn

from unlabeled.heads.distillation import DistillationHead
from unlabeled.ssl.method import Batch
from unlabeled.ssl.random_teacher import RandomTeacher, RandomTeacherConfig, divergence, draw, interpolate, logits

SMALL = {"output_dim": 512, "hidden_dim": 64, "bottleneck_dim": 32}


def plain():
    """A network without BatchNorm."""
    body = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    body.num_features = 16
    return body


def build(info, backbone=None, **settings):
    torch.manual_seed(0)
    return RandomTeacher(RandomTeacherConfig(**{**SMALL, **settings}), backbone or plain(), info)


def batch(size=16):
    return Batch([torch.randn(size, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(size))


def test_divergence_is_kl_in_float64():
    torch.manual_seed(0)
    teacher, student = torch.randn(2, 6, 50, dtype=torch.float64)
    p, q = teacher.softmax(1), student.softmax(1)
    torch.testing.assert_close(divergence(teacher, student), (p * (p / q).log()).sum(1).mean())
    torch.testing.assert_close(
        divergence(teacher.float(), student.float()).double(), divergence(teacher, student), rtol=1e-4, atol=0
    )
    assert float(divergence(teacher, teacher)) == 0
    assert divergence(teacher.half(), student.half()).dtype == torch.float32


def test_small_divergences_are_not_lost_in_float32():
    """At 65536 logits and a KL of 1e-5, where the cross-entropy would print 11.09 for ever."""
    torch.manual_seed(0)
    teacher = 0.06 * torch.randn(4, 65536, dtype=torch.float64)
    student = teacher + 0.0045 * torch.randn_like(teacher)
    exact = divergence(teacher, student)
    assert 0.5e-5 < float(exact) < 2e-5
    assert float(divergence(teacher.float(), student.float())) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_interpolation_is_the_formula_and_keeps_the_variance(alpha):
    torch.manual_seed(0)
    teacher, student = nn.Linear(200, 200), nn.BatchNorm1d(200)
    teacher, student = nn.Sequential(teacher, nn.BatchNorm1d(200)), nn.Sequential(nn.Linear(200, 200), student)
    draw(teacher)
    draw(student)
    fresh = copy.deepcopy(student)
    student[1].running_mean.fill_(7)
    interpolate(student, teacher, alpha)
    scale = math.sqrt(alpha**2 + (1 - alpha) ** 2)
    for own, other, third in zip(student.parameters(), teacher.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(own, ((1 - alpha) * other + alpha * third) / scale)
    assert student[0].weight.std().item() == pytest.approx(teacher[0].weight.std().item(), rel=0.02)
    assert (student[1].running_mean == 7).all()  # parameters only


def test_student_starts_where_alpha_says(info):
    close, far = build(info, alpha=1e-10), build(info, alpha=1.0)
    for student, teacher in ((close.backbone, close.teacher_backbone), (close.head, close.teacher_head)):
        for own, other in zip(student.parameters(), teacher.parameters(), strict=True):
            torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)
    for student, teacher in ((far.backbone, far.teacher_backbone), (far.head, far.teacher_head)):
        for own, other in zip(student.parameters(), teacher.parameters(), strict=True):
            assert own.ndim == 1 or not torch.allclose(own, other, atol=1e-2)


def test_encoder_is_drawn_with_fan_out_and_the_head_narrowly(resnet, info):
    method = build(info, resnet(), alpha=0.5)
    convolution = method.teacher_backbone.layer4[0].conv2
    expected = math.sqrt(2 / (convolution.out_channels * 9))
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.05)
    norms = [m for m in method.teacher_backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)  # no zero-initialised last norms
    for module in method.teacher_head.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.abs().max().item() > 0.06  # cut at ±2, not at two deviations
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.03)
            assert module.bias is None or (module.bias == 0).all()
    assert not any(isinstance(m, nn.BatchNorm1d) for m in method.head.modules())
    assert method.head.last.bias is None


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_teacher_is_frozen_in_eval_mode_and_in_the_checkpoint(name, info, step):
    options = {"img_size": 28, "patch_size": 7, "depth": 1} if "vit" in name else {}
    method = build(info, timm.create_model(name, num_classes=0, in_chans=1, **options), alpha=0.2)
    method.eval().train()
    assert not method.teacher_backbone.training
    assert method.backbone.training
    before = {k: v.clone() for k, v in method.state_dict().items() if k.startswith("teacher_")}
    optimizer = torch.optim.AdamW([p for g in method.parameter_groups() for p in g.parameters], lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        method(batch(4), step)["loss"].backward()
        optimizer.step()
    after = method.state_dict()
    assert before.keys()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    statistics = [m for m in method.teacher_backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((m.running_mean == 0).all() and (m.running_var == 1).all() for m in statistics)
    students = {k for k, p in method.named_parameters() if p.grad is not None}
    assert students == {k for k, _ in method.named_parameters() if not k.startswith("teacher_")}


def test_student_approaches_the_teacher(info, step):
    method = build(info, alpha=0.5)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(30):
        loss = method(batch(), step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_at_alpha_zero_without_batchnorm_the_student_has_nothing_to_learn(info, step):
    largest = {}
    for alpha in (0.0, 0.5):
        method = build(info, alpha=alpha)
        loss = method(batch(), step)["loss"]
        loss.backward()
        gradients = (p.grad.abs().max().item() for p in method.parameters() if p.grad is not None)
        largest[alpha] = (abs(loss.item()), max(gradients))
    # what is left is float32's rounding, beside what a student elsewhere has to learn
    assert largest[0.0][0] < 1e-6
    assert largest[0.0][1] < 1e-3 * largest[0.5][1]


def test_weight_norm_makes_the_logits_cosines(info):
    images = batch().views[0]
    for flag in (True, False):
        method = build(info, weight_norm=flag)
        hidden = torch.nn.functional.normalize(method.head.mlp(method.backbone(images)), dim=1)
        rows = method.head.last.weight
        rows = rows / rows.norm(dim=1, keepdim=True) if flag else rows
        torch.testing.assert_close(method.head(method.backbone(images)), hidden @ rows.T)


def test_the_head_computes_in_float32_where_the_encoder_does_not() -> None:
    head = DistillationHead(8, 16, 8, 32)
    embedding = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert head.mlp(embedding).dtype == torch.bfloat16
        assert head(embedding).dtype == torch.float32  # the last layer, in which images differ by little
        found = logits(head, embedding)
    assert torch.equal(found, head(embedding.float()))
