"""The momentum teacher: its average, its schedule, what of it moves and what stays."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from unlabeled.ssl.teacher import MomentumTeacher, momentum_at


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))


def test_parameters_are_the_moving_average():
    student, head = network().double(), nn.Linear(3, 2).double()
    teacher = MomentumTeacher(student, head)
    expected = [p.detach().clone() for p in (*student.parameters(), *head.parameters())]
    for number in range(5):
        with torch.no_grad():
            for parameter in (*student.parameters(), *head.parameters()):
                parameter.add_(torch.randn_like(parameter))
        momentum = 0.9 + 0.02 * number
        teacher.follow(student, head, momentum)
        now = (*student.parameters(), *head.parameters())
        expected = [momentum * old + (1 - momentum) * new for old, new in zip(expected, now, strict=True)]
    for found, wanted in zip(teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted.detach(), rtol=1e-12, atol=1e-14)


def test_running_statistics_are_its_own_and_other_buffers_the_students():
    student = network()
    student.register_buffer("table", torch.zeros(2, dtype=torch.int64))
    teacher = MomentumTeacher(student)
    alone = copy.deepcopy(teacher.backbone[1])
    images = torch.randn(8, 1, 8, 8)
    teacher(images)
    alone(teacher.backbone[0](images))
    student.table += 7
    student[1].running_mean.fill_(99)
    teacher.follow(student, None, 0.5)
    torch.testing.assert_close(teacher.backbone[1].running_mean, alone.running_mean)
    assert teacher.backbone.table.tolist() == [7, 7]


def test_batchnorm_sees_the_batch_and_dropout_sleeps():
    teacher = MomentumTeacher(network())
    teacher.train()
    assert [m.training for m in teacher.backbone] == [False, True, False, False, False]
    images = torch.randn(8, 1, 8, 8)
    assert torch.equal(teacher(images), teacher(images))  # nothing drops
    assert not teacher(images).requires_grad
    teacher.eval()
    assert not teacher.backbone[1].training


def test_momentum_rises_along_a_cosine(step):
    at = [momentum_at(dataclasses.replace(step, number=n, total=100), 0.99, 1.0) for n in (1, 51, 100)]
    assert at[0] == 0.99
    assert at[1] == pytest.approx(0.995)
    assert at[2] == pytest.approx(1 - 0.01 * (math.cos(math.pi * 0.99) + 1) / 2, rel=1e-12)
    assert momentum_at(dataclasses.replace(step, number=30), 0.9, 0.9) == pytest.approx(0.9)
    straight = [momentum_at(dataclasses.replace(step, number=n), 0.99, 1.0, straight=True) for n in (1, 26, 101)]
    assert straight == pytest.approx([0.99, 0.9925, 1.0])


@pytest.mark.parametrize("which", ["student", "teacher"])
def test_both_are_kept_and_one_is_the_backbone(which):
    student = network()
    teacher = MomentumTeacher(student)
    kept = teacher.kept(student, which)
    assert kept.backbone is (student if which == "student" else teacher.backbone)
    ((name, other),) = kept.beside.items()
    assert name == ("teacher" if which == "student" else "student")
    assert other is (teacher.backbone if which == "student" else student)
