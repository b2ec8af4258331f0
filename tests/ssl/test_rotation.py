from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch
from unlabeled.ssl.rotation import Rotation, RotationConfig, rotations


def test_rotations_are_numpys_and_stay_beside_their_image():
    images = torch.randn(3, 2, 5, 5)
    copies, labels = rotations(images)
    assert copies.shape == (12, 2, 5, 5)
    assert labels.tolist() == [0, 1, 2, 3] * 3
    for index, (copy, turns) in enumerate(zip(copies, labels.tolist(), strict=True)):
        expected = np.rot90(images[index // 4].numpy(), turns, axes=(1, 2))
        assert np.array_equal(copy.numpy(), expected)  # no interpolation: the very same pixels


class Recorder(nn.Module):
    """A backbone that keeps what it was shown."""

    num_features = 25

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return images.mean(dim=1).flatten(1)


def test_one_forward_of_all_four_copies_and_mean_cross_entropy(info, step):
    torch.manual_seed(0)
    backbone = Recorder()
    method = Rotation(RotationConfig(), backbone, info)
    view = torch.randn(6, 1, 5, 5)
    logged = method(Batch([view], torch.arange(6)), step)
    assert [len(images) for images in backbone.seen] == [24]
    copies, labels = rotations(view)
    logits = method.head(copies.mean(dim=1).flatten(1))
    assert logits.shape == (24, 4)
    torch.testing.assert_close(logged["loss"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(logged["accuracy"], (logits.argmax(1) == labels).float().mean())


def test_backbone_and_head_learn(resnet, info, step):
    method = Rotation(RotationConfig(), resnet(), info)
    method(Batch([torch.randn(4, 1, 28, 28)], torch.arange(4)), step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_views_that_cannot_be_turned_are_refused(info, step):
    method = Rotation(RotationConfig(), Recorder(), info)
    with pytest.raises(UserError, match="4x6"):
        method(Batch([torch.randn(2, 1, 4, 6)], torch.arange(2)), step)
    with pytest.raises(UserError, match="1 view of each image, the recipe's 'views' make 2"):
        method(Batch([torch.randn(2, 1, 5, 5)] * 2, torch.arange(2)), step)
