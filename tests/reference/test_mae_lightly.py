"""Patches, positions and pixel targets against lightly's."""

from __future__ import annotations

import torch
from lightly.models import utils

from unlabeled.heads.mae import normalise_patches, patchify, sincos_positions


def test_patchify():
    images = torch.randn(3, 3, 28, 28)
    torch.testing.assert_close(patchify(images, (7, 7)), utils.patchify(images, patch_size=7))


def test_normalised_targets():
    patches = torch.randn(3, 16, 48) * 4 + 2
    torch.testing.assert_close(normalise_patches(patches)[0], utils.normalize_mean_var(patches, dim=-1, eps=1e-6))


def test_positions_up_to_the_order_of_the_axes():
    theirs = torch.tensor(utils.get_2d_sine_cosine_positional_embedding(32, 7, cls_token=False)).float()
    ours = sincos_positions(7, 7, 32)
    torch.testing.assert_close(torch.cat([ours[:, 16:], ours[:, :16]], dim=1), theirs)
