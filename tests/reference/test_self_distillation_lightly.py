"""The losses of self-distillation against lightly's on the same float64 inputs: values, gradients, centres."""

from __future__ import annotations

import pytest
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss

from unlabeled.ssl.centre import Centre
from unlabeled.ssl.dinov2 import koleo
from unlabeled.ssl.ibot import patch_loss
from unlabeled.ssl.multicrop import swapped_loss


@pytest.mark.parametrize("small", [0, 4])
def test_dino_agrees_over_several_steps(small):
    reference, centre = DINOLoss(output_dim=12, teacher_temp=0.05).double(), Centre(12, 0.9).double()
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        teacher = torch.randn(2, 5, 12, generator=draw, dtype=torch.float64)
        ours = torch.randn(2 + small, 5, 12, generator=draw, dtype=torch.float64, requires_grad=True)
        theirs = ours.detach().clone().requires_grad_()
        loss = swapped_loss(ours, centre.targets(teacher, 0.05), 0.1)
        centre.observe(teacher)
        centre.update()
        # its temperature is a float32 tensor, 0.05 to 1e-8 only
        expected = reference(list(teacher), list(theirs))
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(centre.value, reference.center.flatten())


def test_ibot_agrees_with_masks_of_any_size():
    reference, centre = IBOTPatchLoss(output_dim=12, teacher_temp=0.05).double(), Centre(12, 0.9).double()
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        mask = torch.rand(6, 4, 4, generator=draw) < 0.3
        mask[2] = False
        flat = mask.flatten(1)
        weights = (flat / flat.sum(dim=1, keepdim=True).clamp(min=1)).flatten()[flat.flatten()].double() / 6
        teacher, student = torch.randn(2, int(mask.sum()), 12, generator=draw, dtype=torch.float64)
        ours, theirs = (student.clone().requires_grad_() for _ in range(2))
        loss = patch_loss(ours, centre.targets(teacher, 0.05), weights, 0.1)
        centre.observe(teacher)
        centre.update()
        expected = reference(teacher, theirs, mask)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(centre.value, reference.center.value.flatten())


@pytest.mark.parametrize("batch", [2, 9])
def test_koleo_agrees(batch):
    ours = torch.randn(batch, 6, generator=torch.Generator().manual_seed(batch), dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    loss, expected = koleo(ours), KoLeoLoss()(theirs)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-12)
